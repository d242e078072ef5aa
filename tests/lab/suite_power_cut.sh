#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 2G --timeout 300
# Two guests are suspended, one after the other, to the same name on a disk whose every write is noted. Then the disk is
# made as a power cut would have left it, at each of its flushes and between them with some of the writes lost: the image
# is one of the two, whole, and once tern has said that it is there it is.
. tests/lab/lib.sh
work=$(mktemp -d /dev/shm/power.XXXXXX) qemu=''
written=/dev/power_log below=/dev/power_below disk=$work/disk cut=$work/cut
mkdir "$work/at"

# memory_disk NAME MIB: /dev/NAME
memory_disk()
{
    local at=/sys/kernel/config/nullb/$1
    mkdir "$at"
    echo "$2" >"$at/size"
    echo 1 >"$at/memory_backed"
    echo 1 >"$at/power"
}

make_disk()
{
    modprobe null_blk nr_devices=0
    modprobe -a dm_log_writes ext4 loop
    mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
    memory_disk power_below 128
    memory_disk power_log 768
    dmsetup create --noudevsync power --table "0 262144 log-writes $below $written"
    dmsetup mknodes
    mkfs.ext4 -q -E nodiscard -J size=4 /dev/mapper/power
    mount /dev/mapper/power "$work/at"
    sync -f "$work/at"
    dmsetup message power 0 mark empty
}

# That QEMU's guest has pages enough for several writes.
has_written()
{
    [[ $(sed -n 's/^RssShmem:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status") -gt 8192 ]]
}

# A guest that writes all the time goes into the image, and the disk's log is told when tern said so.
suspends()
{
    qemu-system-x86_64 -accel tcg -nodefaults -no-user-config -display none -machine q35,memory-backend=ram -m 64M \
        -object memory-backend-memfd,id=ram,size=64M,share=on -kernel build/tests/qemu_writer \
        -qmp "unix:$work/qmp,server=on,wait=off" &
    qemu=$!
    for _ in {1..200}; do
        [[ -S $work/qmp ]] && has_written $qemu && break
        sleep 0.1
    done
    tern suspend --qmp "$work/qmp" --to "$work/at/image" --downtime-limit 5s --json | tee "$work/said" | grep -v '"progress"'
    dmsetup message power 0 mark "$1"
    grep '"event":"done","ok":true' "$work/said" | grep -q O_DIRECT
    wait $qemu
    qemu=''
    cp --sparse=always "$work/at/image" "$work/$1"
    tern image "$work/$1"
}

disk_is_put_away()
{
    umount "$work/at"
    dmsetup remove --noudevsync power
    build/tests/write_log list $written >"$work/writes"
    sed -n 's/^[0-9]* mark/&/p' "$work/writes"
    ! cmp "$work/first" "$work/second"
    [[ $(grep -cE ' mark (empty|first|second)' "$work/writes") = 3 ]]
}

# What $cut holds, once it is mounted again: nothing, first or second.
image_there()
{
    local held=nothing
    mount -o loop "$cut" "$work/at"
    if [[ -e $work/at/image ]]; then
        held=damaged
        cmp -s "$work/at/image" "$work/first" && held=first
        cmp -s "$work/at/image" "$work/second" && held=second
    fi
    umount "$work/at"
    echo $held
}

# expect NUMBER WHAT: $cut holds what it may hold since the last mark.
expect()
{
    local held
    held=$(image_there)
    seen[$held]=$((${seen[$held]:-0} + 1))
    [[ " $may " = *" $held "* ]] || { echo "$2 entry $1: $held, not: $may" && return 1; }
}

every_cut_is_whole()
{
    local -A seen
    local number kind name last=-1 may=nothing
    truncate -s 128M "$disk"
    while read -r number kind name; do
        [[ $kind = write ]] && continue
        if [[ $may != nothing && $((number - last)) -gt 2 ]]; then
            cp --sparse=always "$disk" "$cut"
            build/tests/write_log apply $written "$cut" $((last + 1)) $((number - 1)) lossy
            expect "$number" "before"
        fi
        build/tests/write_log apply $written "$disk" $((last + 1)) "$number"
        last=$number
        case $name in
        empty) may='nothing first' ;;
        first) may='first second' ;;
        second) may='second' ;;
        esac
        [[ $may != nothing ]] || continue
        cp --sparse=always "$disk" "$cut"
        expect "$number" "at"
    done <"$work/writes"
    echo "nothing ${seen[nothing]:-0}, first ${seen[first]:-0}, second ${seen[second]:-0}"
    [[ ${seen[nothing]:-0} -gt 0 && ${seen[first]:-0} -gt 0 && ${seen[second]:-0} -gt 0 ]]
}

plan 5
check "a disk whose writes are noted" make_disk
check --time 60 "a guest is suspended to it" suspends first
check --time 60 "another one, over that image" suspends second
check "what was written is known" disk_is_put_away
check --time 150 "wherever the power is cut, the image is whole or there is none" every_cut_is_whole
