#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 5G --append hugepagesz=1G --append hugepages=2 --timeout 900
# lab-kernels: 6.12 6.1
# The migration and failure tests of tests/integration again, over verbs: a soft-RoCE device, IPv4 and IPv6, huge pages
# of both sizes. On 6.1 every migration takes the synchronous userfaultfd tracker. At the end tern-perf's commands.
. tests/lab/lib.sh

over_verbs()
{
    TERN_TEST_TRANSPORT=verbs TERN_TEST_HOST=$1 TERN_TEST_HOST6=$TERN_LAB_SELF6 criterion "${@:2}"
}

# bw or lat between two processes over the device: what was counted arrives, and the server ends well.
perf_over_verbs()
{
    local server=$TERN_LAB_OUT/perf.server port=''
    tern-perf "$1" -p 0 >"$server.out" 2>"$server" &
    for ((i = 0; i < 100 && ${#port} == 0; i++)); do
        sleep 0.1
        port=$(sed -n 's/.* at port //p' "$server")
    done
    tern-perf "$1" "$TERN_LAB_SELF" -p "$port" --transport verbs --json "${@:2}" | tee "$server.json"
    grep -q '"transport":"verbs","device":"rxe0"' "$server.json"
    grep -q '"ok":true' "$server.json"
    wait $!
    cat "$server" "$server.out"
}

perf_bw()
{
    perf_over_verbs bw -q 3 -s 64K -n 100 --repeat 2 --memory 8M
    grep -q '"lanes":3.*"size_bytes":65536.*"writes":200,' "$TERN_LAB_OUT/perf.server.json"
    perf_over_verbs bw -s 4096 --scattered -n 1000 --repeat 1 -t 16 -d rxe0
    perf_over_verbs bw -s 3M -n 5 --repeat 1 --memory 16M # cut into several writes
    perf_over_verbs bw --read -q 3 -s 64K -n 100 --repeat 2 --memory 8M
    grep -q '"operation":"read","size_bytes":65536.*"reads":200,' "$TERN_LAB_OUT/perf.server.json"
}

perf_lat()
{
    perf_over_verbs lat -n 100
    grep -q '"until":"completion"' "$TERN_LAB_OUT/perf.server.json"
    perf_over_verbs lat -n 100 --until answer
    perf_over_verbs lat -n 100 --read
    grep -q '"operation":"read","until":"completion".*"reads":100,' "$TERN_LAB_OUT/perf.server.json"
}

perf_register()
{
    tern-perf register --memory 32M --chunk 8M --threads 2 --repeat 1 --json | tee "$TERN_LAB_OUT/register"
    grep -q '"device":"rxe0".*"chunk_bytes":8388608,"threads":2' "$TERN_LAB_OUT/register"
    if tern-perf register -d nosuch 2>"$TERN_LAB_OUT/register"; then
        return 1
    fi
    grep -q 'no RDMA device nosuch' "$TERN_LAB_OUT/register"
}

member()
{
    sed -nE "/\"event\":\"run\"/s/.*\"$1\":([0-9]+).*/\1/p" "$TERN_LAB_OUT/sparse"
}

# A 4 GiB guest of which 64 MiB were ever written: that, in whole chunks of 16 MiB, is what either side holds and
# registers; and with nothing pinned, that alone.
sparse()
{
    local most=$(((64 + 2 * 16 + 1) << 20)) name
    tern-perf migrate --host "$TERN_LAB_SELF" --transport verbs --memory 4G --random 64M --verify --json "$@" \
        >"$TERN_LAB_OUT/sparse"
    cat "$TERN_LAB_OUT/sparse"
    for name in source_guest_bytes destination_guest_bytes; do
        [[ $(member $name) -ge $((64 << 20)) && $(member $name) -le $most ]]
    done
    [[ $(member source_peak_bytes) -le $((most + (64 << 20))) ]]
    [[ $(member destination_peak_bytes) -le $((most + (64 << 20))) ]]
    [[ $(member registered_bytes) -le $most ]]
    [[ $(member registered_bytes) -ge $((64 << 20)) || $* = *ring* ]]
}

# Before Linux 6.2 memory that the synchronous userfaultfd tracker is to protect is pinned before, all of it.
pins_what_is_used=$([[ $TERN_LAB_KERNEL = 6.1 ]] && echo 0 || echo 1)
plan $((11 + pins_what_is_used))
[[ $pins_what_is_used = 0 ]] || check --time 60 "a sparse guest costs what it uses, on both sides" sparse
check --time 60 "and through rings, nothing of it is registered" sparse --register ring
check --time 400 "migrations over verbs and IPv4" over_verbs "$TERN_LAB_SELF" test_migration
check --time 120 "migrations over verbs and IPv6" over_verbs "$TERN_LAB_SELF6" test_migration \
    --filter 'migration/@(busy_guest_moves|every_number_of_lanes|there_and_back)'
check --time 120 "failures over verbs and IPv4" over_verbs "$TERN_LAB_SELF" test_failures
check --time 120 "failures over verbs and IPv6" over_verbs "$TERN_LAB_SELF6" test_failures
check --time 60 "a VMM keeps its pages" over_verbs "$TERN_LAB_SELF" test_inhibit
check --time 60 "a VMM that cannot keep its pages" over_verbs "$TERN_LAB_SELF" test_callbacks \
    --filter 'callback/inhibit_discards_at_the_source'
check --time 60 "tern-perf bw over verbs" perf_bw
check --time 60 "tern-perf lat over verbs" perf_lat
check --time 60 "tern-perf reads what its server has" over_verbs "$TERN_LAB_SELF" test_perf_read
check --time 60 "tern-perf register" perf_register
