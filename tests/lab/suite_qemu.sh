#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 2 --rails 2 --memory 1536M --timeout 420
# A Linux guest under KVM in a QEMU that nobody patched moves from host a to host b over RDMA by tern, verified, while a
# client on host a downloads from it; then it moves back by QEMU's own rdma:, with the same workload. With QEMU_PLAIN=1
# there is no client, and tern verifies no more than QEMU does: so perf/figures_qemu --lab takes its figures from what
# both leave in the shared folder.
. tests/lab/lib.sh
. tests/lab/bystander.sh
. tests/guest/lib.sh
work=$(mktemp -d /dev/shm/qemu.XXXXXX) memory=512M
verify=--verify
[[ ! ${QEMU_PLAIN-} ]] || verify=''
append="guest.ip=10.78.0.2/24 guest.file=1 guest.data=128 guest.rewrite=1024 guest.every=200"
trap 'end_processes; lab_end' EXIT

# The guest's network is the second wire, on both hosts a bridge.
make_bridge()
{
    modprobe -a bridge tun
    ip address flush dev eth1
    ip link add guests type bridge forward_delay 0
    ip link set eth1 master guests up
    ip address add "10.78.0.1$([[ $TERN_LAB_HOST = a ]] && echo 1 || echo 2)/24" dev guests
    ip link set guests up
    ip tuntap add tap0 mode tap
    ip link set tap0 master guests up
}

network=(-netdev tap,id=net,ifname=tap0,script=no,downscript=no -device virtio-net-pci,netdev=net,romfile=)

# Emulation is no answer here: without KVM nothing boots.
boot()
{
    [[ $accelerator = kvm ]] && start_qemu "$@" "${network[@]}"
}

boots()
{
    [[ $accelerator = kvm ]] || { echo "QEMU cannot use KVM" && return 1; }
    wait_until 80 says "$1" 'guest: tick' || { cat "$work/$1".{log,serial} && return 1; }
}

# goes_on NAME WHOLE TICK: it goes on here from that tick (a line that the move cut is neither here nor there), has not
# started anew, and has checked all of its data again, from its beginning.
goes_on()
{
    local first
    wait_until 80 checked_since "$1" "$(($2 + 1))" || { tail -n 3 "$work/$1.serial" && return 1; }
    first=$(grep -o '^guest: tick [0-9]*' "$work/$1.serial" | head -n 1)
    echo "tick $3, then $first"
    [[ ${first##* } -ge $3 && ${first##* } -le $(($3 + 2)) ]]
    ! complaints
}

has_ended()
{
    ! kill -0 "$1" 2>/dev/null
}

move_by_tern()
{
    local begin_us=${EPOCHREALTIME/./}
    tern migrate --qmp "$work/a.qmp" --to "$TERN_LAB_PEER" --transport verbs --device rxe0 $verify \
        --downtime-limit 300ms --json | tee "$TERN_LAB_OUT/tern.json"
    echo $(((${EPOCHREALTIME/./} - begin_us) / 1000)) >"$TERN_LAB_OUT/tern.ms"
    tail -n 1 "$TERN_LAB_OUT/tern.json" | grep '"ok":true' | grep '"transport":"verbs"' |
        grep -q "\"verified\":$([[ $verify ]] && echo true || echo false)"
    wait_until 10 has_ended "${qemu[a]}"
}

end_clients()
{
    kill "$clients"
    wait_until 10 has_ended "$clients"
    cat "$TERN_LAB_OUT/clients"
    grep ' 0 damaged' "$TERN_LAB_OUT/clients" | grep -qv ' 0 whole'
}

migration_has_ended()
{
    qmp b query-migrate >"$work/progress"
    grep -qE '"status": "failed"|"downtime": [1-9]' "$work/progress" # its figures come a little after its end
}

# QEMU's own: with all the bandwidth that it wants, and a limit that it is known to miss.
move_by_peer()
{
    qmp b migrate-set-capabilities "$pin_all" >/dev/null
    qmp b migrate-set-parameters '{"downtime-limit":300,"max-bandwidth":1099511627776}' >/dev/null
    qmp b migrate "{\"uri\":\"rdma:$TERN_LAB_PEER:4444\"}"
    wait_until 120 migration_has_ended
    tail -n 1 "$work/progress" | tee "$TERN_LAB_OUT/peer.json"
    grep -q '"status": "completed"' "$work/progress"
}

# The destination of QEMU's own migration. It listens when its monitor has said that it does.
await_peer()
{
    qmp a migrate-set-capabilities "$pin_all" >/dev/null
    qmp a migrate-incoming "{\"uri\":\"rdma:$TERN_LAB_SELF:4444\"}" | tee "$work/incoming"
    ! grep -q '"error"' "$work/incoming"
}

pin_all='{"capabilities":[{"capability":"rdma-pin-all","state":true}]}'
tests/lab/kernel.sh 6.12 "${TERN_LAB_CACHE:-build/lab}" >/dev/null
make_bridge >/dev/null
make_guest && bystander && choose_accelerator
if [[ $TERN_LAB_HOST = a ]]; then
    plan $([[ $verify ]] && echo 6 || echo 5)
    boot a
    check --time 90 "Linux boots in QEMU under KVM" boots a
    lab_wait waits 60 >/dev/null
    if [[ $verify ]]; then
        start "$TERN_LAB_OUT/clients" tern-perf web --url http://10.78.0.2/file --connections 1 --duration 200s
        clients=$started
    fi
    sleep 3
    check --time 90 "it moves to host b over RDMA, verified" move_by_tern
    lab_signal moved "$(tick_field a whole) $(tick_field a tick)"
    if [[ $verify ]]; then
        sleep 3
        check "its client got all that it asked for" end_clients
    fi
    lab_wait proved 120 >/dev/null
    boot a -incoming defer
    check "a QEMU waits for it to come back" await_peer
    lab_signal back
    read -r whole tick <<<"$(lab_wait peer_moved 150)"
    check --time 90 "it goes on here" goes_on a "$whole" "$tick"
    check "nothing is left registered by tern" test -z "$(rdma resource show mr dev rxe0 2>/dev/null | grep -w tern)"
    lab_meet end 120
else
    plan 4
    boot b -incoming defer
    start "$TERN_LAB_OUT/receive" tern receive --qmp "$work/b.qmp" --listen "$TERN_LAB_SELF:7471" --transport verbs
    receiver=$started
    check "tern receive waits" wait_until 20 grep -q waiting "$TERN_LAB_OUT/receive"
    lab_signal waits
    read -r whole tick <<<"$(lab_wait moved 200)"
    check "it has the guest" wait_until 10 has_ended "$receiver"
    check --time 90 "the guest goes on, whole" goes_on b "$whole" "$tick"
    lab_signal proved
    lab_wait back 60 >/dev/null
    check --time 150 "it moves back by QEMU's rdma:" move_by_peer
    lab_signal peer_moved "$(tick_field b whole) $(tick_field b tick)"
    lab_meet end 150
fi
