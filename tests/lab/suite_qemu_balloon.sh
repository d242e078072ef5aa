#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --memory 3G --timeout 200
# A Linux guest with a balloon, in a QEMU that nobody patched, under KVM: over verbs a balloon that is inflated during
# the migration fails it and the guest runs on; over tcp it moves all the same; with an idle balloon it moves over verbs.
# Before that, discards of files of every kind are seen.
. tests/lab/lib.sh
. tests/lab/bystander.sh
. tests/guest/lib.sh
kernel=${TERN_LAB_CACHE:-build/lab}/$TERN_LAB_KERNEL/vmlinuz initrd=$TERN_LAB_OUT/guest.initrd
work=$(mktemp -d /dev/shm/qemu.XXXXXX)
full=192 small=96

# qemu NAME ARGUMENTS...: until its monitor is there. $work/NAME.qmp is for tern, NAME.mon.in takes lines for people.
qemu()
{
    local name=$1
    shift
    mkfifo "$work/$name.mon.in" "$work/$name.mon.out"
    qemu-system-x86_64 -accel kvm -nodefaults -no-user-config -display none -machine q35,memory-backend=ram -m ${full}M \
        -object "memory-backend-file,id=ram,size=${full}M,share=on,mem-path=$work/$name.ram" \
        -qmp "unix:$work/$name.qmp,server=on,wait=off" -chardev "pipe,id=mon,path=$work/$name.mon" -mon chardev=mon \
        -device virtio-balloon-pci,id=bal0 -serial "file:$TERN_LAB_OUT/serial.$name" \
        -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 quiet noxsave" "$@" >"$TERN_LAB_OUT/qemu.$name" 2>&1 &
    echo $! >"$work/$name.pid"
    cat "$work/$name.mon.out" >"$work/$name.said" &
    for _ in {1..100}; do
        [[ -S $work/$name.qmp ]] && return 0
        sleep 0.1
    done
    cat "$TERN_LAB_OUT/qemu.$name"
    return 1
}

end()
{
    kill -9 "$(<"$work/$1.pid")"
    rm -f "$work/$1.ram"
}

# wait_for SECONDS COMMAND...
wait_for()
{
    local until_s=$((SECONDS + $1))
    until "${@:2}"; do
        ((SECONDS < until_s)) || return 1
        sleep 0.1
    done
}

ticks()
{
    grep -c 'guest: tick' "$TERN_LAB_OUT/serial.$1"
}

has_ticked()
{
    (($(ticks "$1") >= $2))
}

# The Linux guest goes on and says that its data is as it was.
is_whole()
{
    wait_for 40 has_ticked "$1" $(($(ticks "$1" || true) + 3)) || { tail -n 5 "$TERN_LAB_OUT/serial.$1" && return 1; }
    ! grep -B 10 -A 25 -E 'DAMAGED|Call Trace|BUG:|soft lockup' "$TERN_LAB_OUT/serial.$1"
}

goes_on()
{
    ticks_follow "$TERN_LAB_OUT/serial.$1" "$TERN_LAB_OUT/serial.$2"
}

boots()
{
    qemu "$1"
    wait_for 60 has_ticked "$1" 2 || { tail -n 20 "$TERN_LAB_OUT/serial.$1" && return 1; }
}

ask_balloon()
{
    echo "info balloon" >"$work/$1.mon.in"
    sleep 0.2
    [[ $(grep -aoE 'actual=[0-9]+' "$work/$1.said" | tail -n 1) = "actual=$2" ]]
}

# balloon NAME MIB: what it leaves to the guest, until it does.
balloon()
{
    echo "balloon $2" >"$work/$1.mon.in"
    wait_for 40 ask_balloon "$1" "$2" || { tail -n 3 "$work/$1.said" && return 1; }
}

receives()
{
    qemu "$1" -incoming defer
    tern receive --qmp "$work/$1.qmp" --listen "$TERN_LAB_SELF:7471" >"$work/$1.receive" 2>&1 &
    wait_for 20 grep -q '^waiting' "$work/$1.receive" || { cat "$work/$1.receive" && return 1; }
}

migrate()
{
    tern migrate --qmp "$work/$1.qmp" --to "$TERN_LAB_SELF:7471" --verify --downtime-limit 3s --json "${@:2}"
}

# inflate_meanwhile NAME ARGUMENTS...: migrate, and inflate the balloon in pre-copy.
inflate_meanwhile()
{
    local pid status=0
    migrate "$@" --bandwidth 300Mb/s >"$work/migrate" 2>&1 &
    pid=$!
    wait_for 20 grep -q '"phase":"pre-copy"' "$work/migrate" || { cat "$work/migrate" && return 1; }
    echo "balloon $small" >"$work/$1.mon.in"
    wait $pid || status=$?
    grep -vE '"event":"(progress|phase)"' "$work/migrate"
    return $status
}

fails_over_verbs()
{
    local status=0
    inflate_meanwhile a --transport verbs || status=$?
    [[ $status -eq 1 ]]
    grep '"event":"error"' "$work/migrate" | grep "QEMU gave back memory of 'ram' during the migration" |
        grep -q 'use --register ring or --transport tcp'
    [[ $(tern status --qmp "$work/a.qmp" | head -n 1) = active ]]
}

moves_over_tcp()
{
    receives b
    inflate_meanwhile a --transport tcp
    grep '"event":"done"' "$work/migrate" | grep '"ok":true' | grep -q '"verified":true'
    wait_for 40 ask_balloon b $small
}

is_refused()
{
    local status=0
    balloon a $small
    migrate a --transport verbs >"$work/migrate" 2>&1 || status=$?
    cat "$work/migrate"
    [[ $status -eq 1 ]]
    grep -q 'the balloon holds 96 MiB of the guest' "$work/migrate"
}

is_refused_when_verbs_is_chosen()
{
    local status=0
    receives c
    migrate a >"$work/migrate" 2>&1 || status=$?
    cat "$work/migrate"
    [[ $status -eq 1 ]]
    grep -q 'the balloon holds 96 MiB of the guest' "$work/migrate"
    [[ $(grep -c '"phase":"pre-copy"' "$work/migrate") -eq 0 ]]
    end c
}

# Nothing is pinned at the source, so it may give pages back meanwhile.
moves_through_the_ring()
{
    balloon b $full
    receives r
    inflate_meanwhile b --transport verbs --register ring
    grep '"event":"done"' "$work/migrate" | grep '"transport":"verbs"' | grep -q '"verified":true'
    wait_for 40 ask_balloon r $small
}

moves_over_verbs()
{
    balloon r $full
    receives d
    migrate r --transport verbs >"$work/migrate" 2>&1 || { cat "$work/migrate" && return 1; }
    grep '"event":"done"' "$work/migrate" | grep '"transport":"verbs"' | grep -q '"verified":true'
}

plan 15 # quiet: a character of the serial port takes a nested guest a millisecond
echo 32 >/proc/sys/vm/nr_hugepages
check "discards of every kind of file are seen" criterion test_discard_watch
echo 0 >/proc/sys/vm/nr_hugepages
check "a bystander" bystander
tests/guest/make_initrd "$initrd" build/tests/guest_work "${kernel%/vmlinuz}"
check --time 90 "Linux boots, with a balloon" boots a
check "a destination waits" receives x
check --time 60 "over verbs: inflated meanwhile, it fails before the commit" fails_over_verbs
end x
check --time 60 "the guest runs on, whole" is_whole a
check --time 60 "inflated before, it is refused at once" is_refused
check "and where verbs is chosen by itself, before pre-copy" is_refused_when_verbs_is_chosen
check --time 60 "it deflates" balloon a $full
check --time 60 "over tcp: inflated meanwhile, it moves" moves_over_tcp
check --time 60 "there it goes on, whole" eval 'is_whole b && goes_on a b'
check --time 90 "over verbs, through the ring: inflated meanwhile, it moves" moves_through_the_ring
check --time 60 "there it goes on, whole" eval 'is_whole r && goes_on b r'
check --time 90 "over verbs: with a balloon that keeps still it moves" moves_over_verbs
check --time 60 "there it goes on, whole" eval 'is_whole d && goes_on r d'
