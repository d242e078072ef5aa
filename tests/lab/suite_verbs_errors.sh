#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --rails 2 --memory 1536M --timeout 900
# lab-kernels: 6.12 6.1
# What the verbs provider says when something is missing, taken away or wrong, and that it then frees all it had.
. tests/lab/lib.sh

export TERN_TEST_TRANSPORT=verbs TERN_TEST_HOST=$TERN_LAB_SELF TERN_TEST_HOST6=$TERN_LAB_SELF6

# Two rails, both up; 10.99.0.1 is an address of this host that no rail carries.
whole()
{
    modprobe dummy numdummies=0 # some machines configure that, others get a dummy0 at once
    ip link add norail type dummy
    ip link set norail up
    ip address add 10.99.0.1/24 dev norail
    criterion test_verbs_hosts --filter 'whole/*'
}

one_down()
{
    ip link set eth1 down
    criterion test_verbs_hosts --filter 'one_down/*'
}

all_down()
{
    ip link set eth0 down
    criterion test_verbs_hosts --filter 'all_down/*'
}

# In namespace "far" there is no RDMA device, as RDMA devices belong to one namespace; its other end has rxe2.
far()
{
    ip link set eth0 up
    ip link set eth1 up
    rdma system set netns exclusive
    ip netns add far
    modprobe veth
    ip link add near type veth peer name far netns far
    ip address add 10.88.0.1/24 dev near
    ip link set near up
    ip -n far address add 10.88.0.2/24 dev far
    ip -n far link set far up
    ip -n far link set lo up
    rdma link add rxe2 type rxe netdev near
    criterion test_verbs_hosts --filter 'far/*'
}

none()
{
    for device in /sys/class/infiniband/*; do
        rdma link delete "${device##*/}"
    done
    criterion test_verbs_hosts --filter 'none/*'
}

plan 10
check --time 120 "GIDs, tokens and lanes" criterion test_verbs_link
check --time 120 "reads, and memory that is not exposed for them" criterion test_verbs_read
check --time 120 "registration, completions and teardown" criterion test_verbs_memory
check --time 200 "rings where memory is not registered" criterion test_verbs_ring
check --time 120 "a source that dies, a migration that ends" criterion test_verbs_end
check --time 150 "devices by name, addresses without a rail" whole
check --time 60 "one port is down" one_down
check --time 60 "all ports are down" all_down
check --time 120 "one side has no device" far
check --time 60 "no device at all" none
