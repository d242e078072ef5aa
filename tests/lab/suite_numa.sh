#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 1G --cpus 2 --numa --rails 2 --timeout 90
# The lab's NUMA hosts: two nodes with their memory and CPUs, a rail near each.
. tests/lab/lib.sh

node_is_whole()
{
    [[ $(cat "/sys/devices/system/node/node$1/cpulist") = "$1" ]]
    [[ $(awk '/MemTotal/ { print $4 }' "/sys/devices/system/node/node$1/meminfo") -gt 300000 ]]
}

rail_is_near()
{
    [[ $(cat "/sys/class/net/eth$1/device/../numa_node") = "$1" ]]
    [[ $(cat "/sys/class/infiniband/rxe$1/ports/1/gid_attrs/ndevs/0") = "eth$1" ]]
}

plan 4
check "node 0 has memory and a CPU" node_is_whole 0
check "node 1 has memory and a CPU" node_is_whole 1
check "rail 0 is near node 0" rail_is_near 0
check "rail 1 is near node 1" rail_is_near 1
