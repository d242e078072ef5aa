# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For scripts in a virtual host that run guests under KVM: bystander, before the first of them.
# Emulated CPUs do not bear it when the host's kernel patches its own code for the first local APIC that a guest switches
# on, and for the last; a guest that never does keeps it from being either.
bystander()
{
    local socket
    socket=$(mktemp -d)/socket
    tern vm run --control "$socket" --memory 16M --working-set 0 --fill 0 --dirty-rate 1 >"$socket.log" 2>&1 &
    for _ in {1..200}; do
        if tern pause --vm "$socket" --quiet 2>/dev/null; then
            watch_emulation
            return
        fi
        sleep 0.1
    done
    cat "$socket.log"
    return 1
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
# watch_emulation, before a guest runs here; emulation_broke: KVM has since seen a guest at an address within the host's
# function that enters guests, where no guest has a reason to be. lab_end asks that of a suite that failed.
watch_emulation()
{
    local trace=/sys/kernel/tracing from to
    from=$(awk '$3 == "__svm_vcpu_run" { print $1; exit }' /proc/kallsyms)
    [[ -n $from ]] || return 1
    to=$(printf '%x' $((0x$from + 1024)))
    echo "guest_rip >= 0x$from && guest_rip < 0x$to" >$trace/events/kvm/kvm_exit/filter
    echo >$trace/trace
    echo 1 >$trace/events/kvm/kvm_exit/enable
}

emulation_broke()
{
    grep 'kvm_exit:' /sys/kernel/tracing/trace
}
