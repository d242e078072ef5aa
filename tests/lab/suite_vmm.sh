#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 2 --memory 2G --timeout 420
# Guests under KVM: the programs of tests/kvm on each host over verbs, then a payload guest and a Linux guest that
# tools/vmm booted move from host a to host b over RDMA, verified; the payload back over tcp.
. tests/lab/lib.sh
. tests/lab/bystander.sh
. tests/lab/vm.sh
export TERN_TEST_TRANSPORT=verbs TERN_TEST_HOST=$TERN_LAB_SELF TERN_TEST_HOST6=$TERN_LAB_SELF6
initrd=$TERN_LAB_OUT/guest.initrd sockets=$(mktemp -d)

# The VM process has ended by itself, with this exit status.
vm_ended()
{
    local status
    for _ in {1..100}; do
        [[ -S $sockets/$1 ]] || break
        sleep 0.1
    done
    cat "$TERN_LAB_OUT/$TERN_LAB_HOST.$1"
    [[ ! -S $sockets/$1 ]]
    grep -q "migrated to" "$TERN_LAB_OUT/$TERN_LAB_HOST.$1"
}

migrate()
{
    tern migrate --vm "$sockets/$1" --to "$2" --verify --downtime-limit 3s --json "${@:3}" | tee "$TERN_LAB_OUT/$TERN_LAB_HOST.migrate.$1"
    grep '"event":"done"' "$TERN_LAB_OUT/$TERN_LAB_HOST.migrate.$1" | grep '"ok":true' | grep -q '"verified":true'
}

# wait_ticks FILE N: the Linux guest has said N more times that its data is whole.
wait_ticks()
{
    local from now
    from=$(grep -c 'guest: tick' "$1" || true)
    for _ in {1..900}; do
        now=$(grep -c 'guest: tick' "$1" || true)
        ((now >= from + $2)) && return 0
        sleep 0.1
    done
    tail -n 5 "$1"
    return 1
}

linux_is_whole()
{
    wait_ticks "$1" 5
    ! grep -B 10 -A 25 -E 'DAMAGED|Call Trace|BUG:|soft lockup' "$1"
}

ticks_go_on()
{
    local last first
    last=$(grep -oE 'guest: tick [0-9]+' "$TERN_LAB_OUT/serial.a" | tail -n 1 | cut -d ' ' -f 3)
    first=$(grep -oE 'guest: tick [0-9]+' "$TERN_LAB_OUT/serial.b" | head -n 1 | cut -d ' ' -f 3)
    echo "last tick on a $last, first on b $first"
    ((first == last || first == last + 1))
}

# noxsave: QEMU's emulated SVM does not intercept XSETBV, so KVM's CPUID is stale and Linux complains of it.
if [[ $TERN_LAB_HOST = a ]]; then
    plan 14
    tests/guest/make_initrd "$initrd" build/tests/guest_work
    check "a bystander" bystander
    check --time 90 "the VMM" build/tests/test_vmm
    check --time 90 "KVM's trackers see exactly what was written" build/tests/test_kvm_trackers
    check --time 120 "a guest goes into an image and comes back" build/tests/test_vmm_suspend --filter vmm_suspend/with_the_dirty_log
    lab_meet programs 200
    check "a payload guest runs" vm_up payload run --memory 256M --low-memory 128M --dirty-rate 1000
    lab_meet payload 60
    check --time 90 "it moves to host b over verbs" migrate payload "$TERN_LAB_PEER:7471" --transport verbs
    check "its process has ended" vm_ended payload
    lab_meet payload_moved 60
    check "a process waits for it to come back" vm_up back receive --memory 256M --low-memory 128M --listen :7472 --tracker ring
    lab_meet back 60
    lab_meet payload_back 90
    check --time 60 "back home every word of it is whole" payload_is_whole back
    check "it ends" tern quit --vm "$sockets/back"
    check "Linux boots" vm_up linux run --memory 192M --kernel build/lab/6.12/vmlinuz --initrd "$initrd" \
        --append noxsave --serial "$TERN_LAB_OUT/serial.a"
    check --time 120 "Linux keeps its data" linux_is_whole "$TERN_LAB_OUT/serial.a"
    lab_meet linux 150
    check --time 90 "Linux moves to host b over verbs, chosen by itself" migrate linux "$TERN_LAB_PEER:7473"
    check "its process has ended" vm_ended linux
    lab_meet linux_moved 60
    lab_meet end 120
else
    plan 12
    check "a bystander" bystander
    check --time 120 "machines migrate over verbs on one host" build/tests/test_vmm_migration
    lab_meet programs 200
    check "a process waits" vm_up payload receive --memory 256M --low-memory 128M --listen :7471 --tracker log
    lab_meet payload 60
    lab_meet payload_moved 120
    check --time 60 "here every word of it is whole" payload_is_whole payload
    lab_meet back 60
    check --time 90 "it moves back over tcp" migrate payload "$TERN_LAB_PEER:7472" --transport tcp
    check "its process has ended" vm_ended payload
    lab_meet payload_back 90
    check "a process waits for Linux" vm_up linux receive --memory 192M --listen :7473 --serial "$TERN_LAB_OUT/serial.b"
    lab_meet linux 150
    lab_meet linux_moved 120
    check --time 90 "Linux keeps its data here" linux_is_whole "$TERN_LAB_OUT/serial.b"
    check "it goes on where it stopped" ticks_go_on
    check "the move took RDMA" grep -q '"transport":"verbs"' "$TERN_LAB_OUT/a.migrate.linux"
    check "Linux ends" tern quit --vm "$sockets/linux"
    check "nothing is left registered" test -z "$(rdma resource show mr dev rxe0 2>/dev/null)"
    lab_meet end 120
fi
