#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The web experiment between two virtual hosts, for tern-perf web --lab: runs on both. The guest's network is the second
# wire, on both hosts a bridge; the clients are on host a. tern migrates it over RDMA; with WEB_PEER=1 a second guest,
# booted for it, is migrated by QEMU's own rdma:. The runs are left in the shared folder.
. tests/lab/lib.sh
. tests/lab/bystander.sh
. tests/guest/lib.sh
. tests/guest/network.sh
. perf/web_common.sh
work=$(mktemp -d /dev/shm/web.XXXXXX) memory=$WEB_MEMORY runs=$TERN_LAB_OUT limit_ms=300
connections=$WEB_CONNECTIONS before_ms=$WEB_BEFORE_MS bandwidth_bps=$WEB_BANDWIDTH_BPS
trap 'end_processes; lab_end' EXIT

fail()
{
    echo "$1" >&2
    exit 1
}

make_network()
{
    modprobe -a bridge tun
    ip address flush dev eth1
    bridge "$TERN_LAB_HOST" eth1
}

# Emulation is no answer here: without KVM nothing boots.
boot()
{
    [[ $accelerator = kvm ]] && boot_web "$@"
}

boots()
{
    wait_until 80 says "$1" 'guest: tick' || { cat "$work/$1".{log,serial} && return 1; }
}

# serve_and_move NAME MIGRATE...: on host a.
serve_and_move()
{
    local name=$1
    shift
    start_clients "$name"
    sleep_ms "$before_ms"
    "$@"
    sleep_ms $((before_ms / 2))
    end_clients "$name"
}

goes_on()
{
    wait_until 40 says b 'guest: tick' && ! complaints
}

host_a()
{
    plan $((2 + 2 * WEB_PEER))
    boot a
    check --time 90 "Linux boots in QEMU under KVM" boots a
    lab_meet tern 120
    check --time 150 "tern moves it over RDMA" serve_and_move tern by_tern tern "$TERN_LAB_PEER" --transport verbs \
        --device rxe0
    lab_meet tern_end 150
    end_processes
    [[ $WEB_PEER = 1 ]] || return 0
    boot a
    check --time 90 "Linux boots again" boots a
    lab_meet peer 120
    check --time 150 "QEMU's rdma: moves it" serve_and_move 'QEMU rdma' by_peer 'QEMU rdma' \
        "rdma:$TERN_LAB_PEER:4444" rdma-pin-all
    lab_meet peer_end 150
}

host_b()
{
    plan $((2 + 2 * WEB_PEER))
    boot b -incoming defer
    start "$TERN_LAB_OUT/receive" tern receive --qmp "$work/b.qmp" --listen "$TERN_LAB_SELF:7471" --transport verbs
    check "tern receive waits" wait_until 20 grep -q waiting "$TERN_LAB_OUT/receive"
    lab_meet tern 120
    lab_meet tern_end 200
    check --time 60 "the guest goes on here" goes_on
    end_processes
    [[ $WEB_PEER = 1 ]] || return 0
    boot b -incoming defer
    check "a QEMU waits for its peer" peer_listens "rdma:$TERN_LAB_SELF:4444" rdma-pin-all
    lab_meet peer 120
    lab_meet peer_end 200
    check --time 60 "that guest goes on here" goes_on
}

tests/lab/kernel.sh 6.12 "${TERN_LAB_CACHE:-build/lab}" >/dev/null
make_network >/dev/null
guest_words
make_guest && bystander && choose_accelerator
"host_$TERN_LAB_HOST"
