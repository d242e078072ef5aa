#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What runs on both virtual hosts for perf/figures --lab: in turn ib_write_bw and a migration, so that each migration
# has one before and one after it. Host a is the destination and serves; host b leaves in the shared folder bw.0 to bw.N
# (Gb/s) and run.1 to run.N (JSON).
. tests/lab/lib.sh

bytes=65536 writes=1000 runs=3

write_bw()
{
    local test=(ib_write_bw -R -F -p $((18700 + $1)) -s "$bytes" -n "$writes" --report_gbits)
    if [[ $TERN_LAB_HOST = a ]]; then
        "${test[@]}" &
        sleep 1 # rdma_cm listeners show nowhere; the other host tries again if this was too short
        lab_signal "listening.$1"
        wait $!
        return
    fi
    lab_wait "listening.$1"
    for _ in 1 2 3; do
        if "${test[@]}" "$TERN_LAB_PEER" >"$TERN_LAB_OUT/bw.text"; then
            awk -v b="$bytes" '$1 == b {print $4}' "$TERN_LAB_OUT/bw.text" | grep . >"$TERN_LAB_OUT/bw.$1"
            return
        fi
        sleep 1
    done
    return 1
}

migrate()
{
    if [[ $TERN_LAB_HOST = a ]]; then
        tern-perf migrate --listen "$TERN_LAB_SELF:7471" --memory 512M --transport verbs
    else
        tern-perf migrate --to "$TERN_LAB_PEER:7471" --memory 512M --random 256M --transport verbs \
            --lanes "$PERF_LANES" --json >"$TERN_LAB_OUT/run.$1"
    fi
}

plan $((2 * runs + 1))
check --time 60 "ib_write_bw, 0" write_bw 0
for ((i = 1; i <= runs; i++)); do
    lab_meet "bw.$i" 60
    check --time 90 "migration $i" migrate "$i"
    lab_meet "run.$i" 90
    check --time 60 "ib_write_bw, $i" write_bw "$i"
done
