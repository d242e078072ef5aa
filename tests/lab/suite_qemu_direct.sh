#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --memory 2G --timeout 300
# The Linux guest reads a slow disk past the page cache (cache=none) all the time: reads are under way at every look at
# its pages, and what they bring comes after the page was sent. It moves, and what it reads is as it must be.
. tests/lab/lib.sh
. tests/lab/bystander.sh
. tests/guest/lib.sh
work=$(mktemp -d /dev/shm/qemu.XXXXXX) memory=192M
append="guest.data=16 guest.rewrite=256 guest.disk=read"
trap 'cp "$work"/*.serial "$TERN_LAB_OUT"; end_processes; lab_end' EXIT

# Every request waits for some seconds, its pages pinned, and then brings its data.
make_disk()
{
    local disk=/sys/kernel/config/nullb/slow
    modprobe null_blk nr_devices=0
    modprobe dm_delay
    mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
    mkdir "$disk"
    echo 16 >"$disk/size"
    echo 1 >"$disk/memory_backed"
    echo 1 >"$disk/power"
    mknod /dev/slow_below b $(tr : ' ' </sys/block/slow/dev)
    head -c 4M /dev/urandom >"$work/content"
    dd if="$work/content" of=/dev/slow_below bs=1M conv=fsync
    dmsetup create --noudevsync slow --table "0 32768 delay /dev/slow_below 0 4000"
    dmsetup mknodes
}

# boot NAME ARGUMENTS...
boot()
{
    start_qemu "$@" -drive file=/dev/mapper/slow,format=raw,if=virtio,cache=none,aio=native,readonly=on
}

boots()
{
    wait_until 110 says a "guest: disk" || { tail "$work"/a.{log,serial} && return 1; }
}

moves()
{
    tern migrate --qmp "$work/a.qmp" --to "$TERN_LAB_SELF:7471" --transport tcp --verify --downtime-limit 5s --json |
        tee "$TERN_LAB_OUT/tern.json" | grep -v '"progress"'
    tail -n 1 "$TERN_LAB_OUT/tern.json" | grep '"ok":true' | grep -q ', drained"'
}

reads_on()
{
    local before
    wait_until 60 says b 'guest: tick'
    before=$(grep -c 'guest: disk' "$work/b.serial" || true)
    wait_until 60 more_disk $((before + 2))
    ticks_follow "$work/a.serial" "$work/b.serial"
    ! complaints
}

more_disk()
{
    [[ $(grep -c 'guest: disk' "$work/b.serial") -ge $1 ]]
}

plan 4
make_guest && bystander && choose_accelerator
check "a slow disk" make_disk
[[ -b /dev/mapper/slow ]] || exit 1
boot a
check --time 120 "Linux boots under $accelerator" boots
boot b -incoming defer
start "$TERN_LAB_OUT/receive" tern receive --qmp "$work/b.qmp" --listen "$TERN_LAB_SELF:7471"
wait_until 20 grep -q waiting "$TERN_LAB_OUT/receive"
check --time 90 "it moves while it reads" moves
check --time 150 "it goes on, and reads what is on the disk" reads_on
