#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 2G --timeout 400
# lab-kernels: 6.1
# A QEMU that nobody patched, on a kernel before Linux 6.7: its pages are tracked by soft-dirty.
. tests/lab/lib.sh

# A cgroup whose memory can be swapped out.
reclaim_group()
{
    local group=/sys/fs/cgroup/tern
    modprobe zram
    echo 256M >/sys/block/zram0/disksize
    mkswap /dev/zram0
    swapon /dev/zram0
    mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control
    mkdir -p $group
    [[ -e $group/memory.reclaim ]]
}
export TERN_RECLAIM_FOLDER=/sys/fs/cgroup/tern

# is_refused TEXT QEMU'S-ARGUMENTS...: tern migrate says so in its error, and the guest goes on.
is_refused()
{
    local text=$1 work qemu status=1
    work=$(mktemp -d /dev/shm/tern_old_XXXXXX)
    qemu-system-x86_64 -accel tcg -nodefaults -no-user-config -display none -machine q35,memory-backend=ram -m 64M \
        -qmp "unix:$work/qmp,server=on,wait=off" "${@:2}" &
    qemu=$!
    for _ in {1..100}; do
        [[ -S $work/qmp ]] && break
        sleep 0.1
    done
    if ! timeout 20 tern migrate --qmp "$work/qmp" --to 127.0.0.1:9 --transport tcp 2>"$work/errors" &&
        grep "$text" "$work/errors" && [[ $(tern status --qmp "$work/qmp" | head -n 1) = active ]]; then
        status=0
    fi
    cat "$work/errors"
    kill -9 $qemu
    rm -rf "$work"
    return $status
}

huge_pages_are_refused()
{
    echo 40 >/proc/sys/vm/nr_hugepages
    is_refused "'ram' is in huge pages" -object memory-backend-memfd,id=ram,size=64M,share=on,hugetlb=on
}

plan 9
check "/dev/vhost-net is there" modprobe vhost_net
check "swap, and a group that can be told to use it" reclaim_group
check --time 150 "no page is missed, whoever is killed" criterion test_soft_dirty_tracker
check "the swap is gone again" swapoff /dev/zram0
check --time 60 "threads held still, on this kernel" criterion test_freeze
check --time 120 "a busy guest moves, its pages tracked exactly" criterion test_qemu_migration
check --time 180 "tern migrate --qmp, killed at any moment too" \
    tests/integration/qemu_command.sh build/bin/tern build/tests/qemu_writer "soft-dirty of QEMU"
check "free page reporting is refused" is_refused "'bal0' reports free pages, which kernels before" \
    -object memory-backend-memfd,id=ram,size=64M,share=on -device virtio-balloon-pci,id=bal0,free-page-reporting=on
check "huge pages are refused" huge_pages_are_refused
