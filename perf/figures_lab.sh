#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What runs on both virtual hosts for perf/figures --lab: ib_write_bw, migrations, ib_write_bw again. Host a is the
# destination and serves; host b leaves the figures in the shared folder: before, after (Gb/s), migrate.json.
. tests/lab/lib.sh

bytes=65536 writes=2000 runs=3

# write_bw NAME PORT
write_bw()
{
    local test=(ib_write_bw -R -F -p "$2" -s "$bytes" -n "$writes" --report_gbits)
    if [[ $TERN_LAB_HOST = a ]]; then
        "${test[@]}" &
        sleep 1 # rdma_cm listeners show nowhere; the other host tries again if this was too short
        lab_signal "listening.$1"
        wait $!
        return
    fi
    lab_wait "listening.$1"
    for _ in 1 2 3; do
        if "${test[@]}" "$TERN_LAB_PEER" >"$TERN_LAB_OUT/$1.text"; then
            awk -v b="$bytes" '$1 == b {print $4}' "$TERN_LAB_OUT/$1.text" | grep . >"$TERN_LAB_OUT/$1"
            return
        fi
        sleep 1
    done
    return 1
}

migrate()
{
    if [[ $TERN_LAB_HOST = a ]]; then
        tern-perf migrate --listen "$TERN_LAB_SELF:7471" --memory 512M --transport verbs --repeat "$runs"
    else
        tern-perf migrate --to "$TERN_LAB_PEER:7471" --memory 512M --random 256M --transport verbs --repeat "$runs" \
            --json >"$TERN_LAB_OUT/migrate.json"
    fi
}

plan 3
check --time 60 "ib_write_bw before" write_bw before 18700
lab_meet migrate 60
check --time 120 "migrations" migrate
lab_meet after 120
check --time 60 "ib_write_bw after" write_bw after 18701
