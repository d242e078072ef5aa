#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --memory 2G --timeout 240
# A Linux guest under KVM whose network is vhost-net moves while packets come all the time; see test_qemu_vhost.c.
# Run by hand (tests/lab/suite tests/lab/by_hand_qemu_vhost.sh): emulated SVM does not always bear vhost-net's interrupts, so
# that the virtual host dies, or its guest does not boot.
. tests/lab/lib.sh
. tests/lab/bystander.sh
kernel=$(tests/lab/kernel.sh 6.12 "${TERN_LAB_CACHE:-build/lab}")
export TERN_TEST_ACCELERATOR=kvm TERN_GUEST_KERNEL=$kernel/vmlinuz TERN_GUEST_INITRD=$TERN_LAB_OUT/initrd

network()
{
    modprobe -a vhost_net bridge tun
    ip link add guests type bridge forward_delay 0
    ip address add 10.78.0.1/24 dev guests
    ip link set guests up
    for tap in tap_a tap_b; do
        ip tuntap add $tap mode tap vnet_hdr
        ip link set $tap master guests up
    done
}

plan 3
check "a network with vhost-net" network
check "a bystander" bystander
tests/guest/make_initrd "$TERN_GUEST_INITRD" build/tests/guest_work "$kernel"
ping -i 0.01 -s 1400 10.78.0.2 >/dev/null 2>&1 &
check --time 200 "what the kernel writes for QEMU is tracked" criterion test_qemu_vhost
