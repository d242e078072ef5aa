#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --memory 2G --timeout 360
# The Linux guest reads a slow disk past the page cache (cache=none) all the time: reads are under way at every look at
# its pages, and what they bring comes after the page was sent. It moves, and what it reads is as it must be. Then it goes
# into an image and, read lazily, out of it: KVM and the disk meet pages that are missing.
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

# reads_on FROM TO
reads_on()
{
    local before
    wait_until 60 says "$2" 'guest: tick'
    before=$(grep -c 'guest: disk' "$work/$2.serial" || true)
    wait_until 60 more_disk "$2" $((before + 2))
    ticks_follow "$work/$1.serial" "$work/$2.serial" || { head -n 30 "$work/$2.serial" && return 1; }
    ! complaints
}

more_disk()
{
    [[ $(grep -c 'guest: disk' "$work/$1.serial") -ge $2 ]]
}

is_suspended()
{
    tern suspend --qmp "$work/b.qmp" --to "$work/image" --downtime-limit 5s --json >"$work/events"
    tail -n 1 "$work/events"
    tail -n 1 "$work/events" | grep -q '"ok":true'
}

is_resumed()
{
    tern resume --qmp "$work/c.qmp" --from "$work/image" --json >"$work/events"
    tail -n 1 "$work/events"
    tail -n 1 "$work/events" | grep -q '"device":"lazy"'
}

plan 7
make_guest && bystander && choose_accelerator
check "a slow disk" make_disk
[[ -b /dev/mapper/slow ]] || exit 1
boot a
check --time 120 "Linux boots under $accelerator" boots
boot b -incoming defer
start "$TERN_LAB_OUT/receive" tern receive --qmp "$work/b.qmp" --listen "$TERN_LAB_SELF:7471"
wait_until 20 grep -q waiting "$TERN_LAB_OUT/receive"
check --time 90 "it moves while it reads" moves
check --time 150 "it goes on, and reads what is on the disk" reads_on a b
check --time 60 "it is suspended while it reads" is_suspended
boot c -incoming defer
check --time 60 "it is resumed lazily" is_resumed
check --time 150 "it goes on, and reads what is on the disk" reads_on b c
