#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What runs on both virtual hosts for perf/compare --lab: in turn perftest's programs and tern's over the same rails, a
# repetition after the other, so that each figure has its peer's from the same minute. Host a serves; host b leaves in
# the shared folder NAME.N, Gb/s or JSON of repetition N.
. tests/lab/lib.sh

repeat=${COMPARE_REPEAT:-3} port=18700 turn=0 try=1
sizes=(4096 65536 1048576)
declare -A times=([4096]=4000 [65536]=400 [1048576]=30)

# pair SERVER-WORDS -- CLIENT-WORDS: run the server here or the client there; the client's output goes to stdout.
pair()
{
    local server=()
    while [[ $1 != -- ]]; do
        server+=("$1")
        shift
    done
    shift
    if [[ $TERN_LAB_HOST = a ]]; then
        timeout 40 "${server[@]}" >/dev/null &
        sleep 1 # rdma_cm listeners show nowhere; if this was too short, the turn is tried again
        lab_signal "listening.$turn.$try"
        wait $!
        return
    fi
    lab_wait "listening.$turn.$try" 60 >/dev/null
    timeout 30 "$@"
}

# ib_bw PORT SIZE write|read
ib_bw()
{
    local test=("ib_${3}_bw" -R -F -p "$1" -s "$2" -n "${times[$2]}" --report_gbits)
    pair "${test[@]}" -- "${test[@]}" "$TERN_LAB_PEER" | awk -v s="$2" '$1 == s {print $4}'
}

tern_bw()
{
    pair tern-perf bw -p "$1" -- tern-perf bw "$TERN_LAB_PEER" -p "$1" --json -s "$2" -n "${times[$2]}" --repeat 1 \
        "${@:3}"
}

# ib_lat PORT write|read
ib_lat()
{
    local test=("ib_${2}_lat" -R -F -p "$1" -s 4096 -n 500)
    pair "${test[@]}" -- "${test[@]}" "$TERN_LAB_PEER" | awk '$1 == 4096 {print $5}'
}

tern_lat()
{
    pair tern-perf lat -p "$1" -- tern-perf lat "$TERN_LAB_PEER" -p "$1" --json -n 500 --transport verbs "${@:2}"
}

# migrate PORT TRANSPORT MEMORY RANDOM
migrate()
{
    pair tern-perf migrate --listen ":$1" --memory "$3" --transport "$2" -- \
        tern-perf migrate --to "$TERN_LAB_PEER:$1" --memory "$3" --random "$4" --transport "$2" --json --lanes 2
}

# turn NAME COMMAND...: one measurement, on both hosts at the same time.
turn()
{
    local name=$1
    shift
    turn=$((turn + 1))
    check --time 150 "$name" into "$name" "$1" $((port + turn)) "${@:2}"
}

# Some of perftest's programs end with a fault or not at all when the other is late: three tries, of both hosts.
into()
{
    local out=/dev/null status
    [[ $TERN_LAB_HOST = a ]] || out=$TERN_LAB_OUT/$1
    for try in 1 2 3; do
        lab_meet "turn.$turn.$try" 120
        status=0
        "${@:2}" >"$out" || status=1
        [[ $TERN_LAB_HOST = a || -s $out ]] || status=1
        lab_signal "end.$turn.$try" "$status"
        status+=$(lab_wait "end.$turn.$try" 120)
        [[ $status != 00 ]] || return 0
    done
    return 1
}

bandwidths()
{
    local size scattered
    for size in "${sizes[@]}"; do
        scattered=()
        [[ $size -gt 4096 ]] || scattered=(--scattered)
        turn "ib.$size.$1" ib_bw "$size" write
        turn "tern.$size.$1" tern_bw "$size" --transport verbs "${scattered[@]}"
    done
}

migrations()
{
    turn "migrate.verbs.$1" migrate verbs 512M 64M
    turn "ib.after.$1" ib_bw 65536 write
    turn "migrate.tcp.$1" migrate tcp 512M 64M
    turn "tern.tcp.$1" tern_bw 65536 --transport tcp
    turn "setup.small.$1" migrate verbs 256M 4M
    turn "setup.large.$1" migrate verbs 1G 4M
    turn "ib.lat.$1" ib_lat write
    turn "tern.lat.$1" tern_lat
}

reads()
{
    local size
    for size in 65536 1048576; do
        turn "ib.read.$size.$1" ib_bw "$size" read
        turn "tern.read.$size.$1" tern_bw "$size" --transport verbs --read
    done
    turn "ib.read.lat.$1" ib_lat read
    turn "tern.read.lat.$1" tern_lat --read
}

asked()
{
    [[ ! ${COMPARE_ONLY-} || $COMPARE_ONLY = *$1* ]]
}

n=0
! asked f || n=$((n + 2 * ${#sizes[@]}))
! asked h || n=$((n + 8))
! asked m || n=$((n + 6))
plan $((repeat * n))
for ((i = 1; i <= repeat; i++)); do
    ! asked f || bandwidths "$i"
    ! asked h || migrations "$i"
    ! asked m || reads "$i"
done
