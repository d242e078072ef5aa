# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For suites with guests of tern's own VMM: start one, and look at it. $sockets is a folder of the suite's.
# shellcheck disable=SC2154

# vm_up NAME ARGUMENTS...: a VM process, until its control socket answers.
vm_up()
{
    local name=$1
    shift
    tern vm "$@" --control "$sockets/$name" >"$TERN_LAB_OUT/$TERN_LAB_HOST.$name" 2>&1 &
    echo $! >"$sockets/$name.pid"
    for _ in {1..200}; do
        tern status --vm "$sockets/$name" --json 2>/dev/null | grep -q '"guest"' && return 0
        kill -0 "$(<"$sockets/$name.pid")" 2>/dev/null || break
        sleep 0.1
    done
    cat "$TERN_LAB_OUT/$TERN_LAB_HOST.$name"
    return 1
}

payload_is_whole()
{
    tern status --vm "$sockets/$1"
    [[ $(tern status --vm "$sockets/$1" | head -n 1) = active ]] && tern verify --vm "$sockets/$1"
}

# QEMU's emulated SVM (7.2, TCG, two CPUs) breaks guests that nobody migrates, pauses or tracks. Seen in guests that merely
# ran the payload: one of three in tern's VMM after 147,496 heartbeats, and one of two in a program of one thread that did
# nothing but KVM_RUN, without interrupt controller or signals, after 9,262: "triple fault". KVM's events of the latter:
#   kvm_exit: reason io  rip 0x10401                             the payload's heartbeat, as always
#   kvm_exit: reason npf rip 0xffffffffc097dc50 info1 0x200000006 info2 0x3e6eff8
#   kvm_exit: reason shutdown rip 0xffffffffc097dc50
# That address is the host's, in kvm_amd behind its VMRUN; info2 is entry 511 of the host's page table, looked up as the
# guest's: guest mode with the host's RIP and CR3. KVM keeps them as the guest's, so where such an address happens to be
# guest memory it need not fault, it may as well stand still, and the state goes with it to wherever it is migrated.
#
# watch_emulation, before a payload runs here; emulation_broke: KVM has seen one of them since in the upper half of the
# address space, where a payload has no memory.
watch_emulation()
{
    local trace=/sys/kernel/tracing
    echo 'guest_rip >= 0xffff800000000000' >$trace/events/kvm/kvm_exit/filter
    echo >$trace/trace
    echo 1 >$trace/events/kvm/kvm_exit/enable
}

emulation_broke()
{
    grep 'kvm_exit:' /sys/kernel/tracing/trace
}
