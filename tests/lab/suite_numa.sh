#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 2G --cpus 4 --numa 4 --rails 2 --timeout 300
# Four NUMA nodes with their memory and CPUs, a rail near each of the first two: what tern doctor sees of them, which
# pages each worker sends, and where they land (test_numa.c), over TCP and over RDMA; then the command, guests and all.
. tests/lab/lib.sh
sockets=$(mktemp -d /dev/shm/numa.XXXXXX)

node_is_whole()
{
    [[ $(cat "/sys/devices/system/node/node$1/cpulist") = "$1" ]]
    [[ $(awk '/MemTotal/ { print $4 }' "/sys/devices/system/node/node$1/meminfo") -gt 300000 ]]
}

nodes_are_whole()
{
    local node
    for node in 0 1 2 3; do
        node_is_whole "$node"
    done
}

rail_is_near()
{
    [[ $(cat "/sys/class/net/eth$1/device/../numa_node") = "$1" ]]
    [[ $(cat "/sys/class/infiniband/rxe$1/ports/1/gid_attrs/ndevs/0") = "eth$1" ]]
    tern doctor --json | grep -o "\"device\":\"rxe$1\",[^}]*" | grep "\"netdev\":\"eth$1\",\"node\":$1,"
}

doctor_knows_the_host()
{
    tern doctor
    tern doctor | grep 'node 2 .*CPUs for tern: 2; distances 22 16 10 16'
    tern doctor | grep 'rxe1 port 1: ACTIVE, Ethernet on eth1, node 1; usable GIDs: [0-9]'
    ! tern doctor | grep '^hint: .*RDMA'
}

doctor_plans()
{
    tern doctor --plan --memory 1G --lanes 4
    tern doctor --plan --memory 1G --lanes 4 | grep -E '^  0 +0 +0 +0 +rxe0 +256 MiB$'
    tern doctor --plan --memory 1G --lanes 4 | grep -E '^  1 +1 +1 +1 +rxe1 +256 MiB$'
    tern doctor --plan --memory 1G --lanes 4 --device rxe1 | grep -E '^  0 +0 +0 +0 +rxe1 +256 MiB$'
    taskset -c 0,3 tern doctor --plan --memory 1G --lanes 4 | grep -E '^  1 +1 +1 +0 +rxe[01] +256 MiB; runs on node 0$'
    tern doctor --plan --json | grep '"plan":{"workers":\[{"worker":0,"lane":0,"node":0,"cpu_node":0,"cpus":"0"'
}

says_waiting()
{
    timeout 20 bash -c "until grep -q waiting '$1'; do sleep 0.1; done"
}

# The guest's memory is where its CPU touched it first: node 2. numa_maps is the kernel's own word for where it lands.
command_places_a_guest()
{
    local source destination map
    modprobe kvm_amd npt=1
    taskset -c 2 tern vm run --control "$sockets/a" --memory 64M --fill 32M --working-set 0 --quiet &
    source=$!
    tern vm receive --control "$sockets/b" --listen 127.0.0.1:7471 --memory 64M --numa-map 2:3 >"$sockets/out" &
    destination=$!
    says_waiting "$sockets/out"
    timeout 20 bash -c "until tern status --vm '$sockets/a'; do sleep 0.2; done"
    tern migrate --vm "$sockets/a" --to 127.0.0.1:7471 --downtime-limit 1s --verify | tee "$sockets/summary"
    grep -E '^  NUMA +node 2: ' "$sockets/summary"
    timeout 10 bash -c "until grep 'its memory by NUMA node: node 3: ' '$sockets/out'; do sleep 0.1; done"
    map=$(grep -oE 'N[0-3]=[0-9]{4,}' "/proc/$destination/numa_maps")
    echo "$map"
    [[ $map = N3=* ]]
    tern verify --vm "$sockets/b"
    tern quit --vm "$sockets/b"
    wait "$source" "$destination"
}

start_qemu()
{
    qemu-system-x86_64 -display none -nodefaults -accel tcg -m 64M -machine q35,memory-backend=ram \
        -object "memory-backend-file,id=ram,size=64M,share=on,mem-path=$sockets/ram.$1,$2" \
        -qmp "unix:$sockets/$1.qmp,server=on,wait=off" "${@:3}" &
    qemu=$!
    timeout 20 bash -c "until [[ -S $sockets/$1.qmp ]]; do sleep 0.1; done"
}

# Shared memory of another process: its owner has bound it at the source; at the destination by nobody, then by its owner.
qemu_memory_is_placed()
{
    local destination=$1 wanted=$2 qemu receiver first
    start_qemu a "host-nodes=2,policy=bind" -S
    first=$qemu
    start_qemu b "$destination" -incoming defer
    tern receive --qmp "$sockets/b.qmp" --listen 127.0.0.1:7471 --numa-map 2:1 >"$sockets/received" 2>&1 &
    receiver=$!
    says_waiting "$sockets/received"
    tern cont --qmp "$sockets/a.qmp"
    timeout 20 bash -c "until grep -E 'ram\.a.* N2=[0-9]{2,}' /proc/$first/numa_maps; do sleep 0.1; done" # the firmware's
    tern migrate --qmp "$sockets/a.qmp" --to 127.0.0.1:7471 --downtime-limit 2s
    wait "$receiver"
    cat "$sockets/received"
    grep -E "ram\.b" "/proc/$qemu/numa_maps"
    grep -E "^its memory by NUMA node: node $wanted: [0-9,]+ pages$" "$sockets/received"
    kill "$qemu" && wait "$qemu"
    wait "$first"
    rm -f "$sockets"/ram.? "$sockets"/?.qmp
}

# A node full of cached files gives way to others before the kernel drops any: what is tested here has room.
make_room()
{
    sync
    echo 3 >/proc/sys/vm/drop_caches
}

plan 9
check "four nodes have memory and CPUs" nodes_are_whole
check "rail 0 is near node 0" rail_is_near 0
check "rail 1 is near node 1" rail_is_near 1
check "tern doctor knows the host" doctor_knows_the_host
check "tern doctor --plan" doctor_plans
make_room
check --time 90 "workers and pages keep to their nodes, over TCP" criterion test_numa --filter 'numa/*'
make_room
export TERN_TEST_TRANSPORT=verbs TERN_TEST_HOST=$TERN_LAB_SELF
check --time 120 "and over RDMA, each lane on the rail of the plan" criterion test_numa
make_room
check --time 60 "the command places a guest" command_places_a_guest
check --time 60 "a QEMU's memory is placed" qemu_memory_is_placed prealloc=off 1
