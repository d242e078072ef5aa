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
        tern pause --vm "$socket" --quiet 2>/dev/null && return 0
        sleep 0.1
    done
    cat "$socket.log"
    return 1
}
