#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tern migrate, receive and status with --qmp, as a script would use them: two QEMUs under TCG that nobody patched.
# Usage: qemu_command.sh TERN WRITER_KERNEL [TRACKER'S NAME]
set -uo pipefail
# Leaks are looked for by other tests: LeakSanitizer's tracer hangs where it is sent a second signal at its end.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
tern=$1 writer=$2 tracker=${3:-userfaultfd in QEMU} failed=0 port=0
work=$(mktemp -d /dev/shm/tern_command_XXXXXX)
pids=()
end()
{
    for pid in "${pids[@]}"; do
        kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    pids=()
}
trap 'end; rm -rf "$work"' EXIT

check()
{
    local name=$1
    shift
    if "$@"; then
        echo "ok $name"
    else
        echo "not ok $name"
        failed=1
    fi
}

# qemu NAME SHARE ARGUMENTS...: until its monitor is there.
qemu()
{
    local name=$1 share=$2
    shift 2
    rm -f "$work/$name".*
    qemu-system-x86_64 -accel tcg -nodefaults -no-user-config -display none -machine q35,memory-backend=ram -m 128M \
        -object "memory-backend-file,id=ram,size=128M,share=$share,mem-path=$work/$name.ram" \
        -qmp "unix:$work/$name.qmp,server=on,wait=off" "$@" >"$work/$name.log" 2>&1 &
    pids+=($!)
    for _ in {1..100}; do
        [[ -S $work/$name.qmp ]] && return 0
        sleep 0.1
    done
    cat "$work/$name.log"
    return 1
}

status_is()
{
    [[ $(timeout 20 "$tern" status --qmp "$work/$1.qmp" | head -n 1) = "$2" ]]
}

receive()
{
    : >"$work/receive" # or the last one's port is read
    timeout 60 "$tern" receive --qmp "$work/b.qmp" --listen 127.0.0.1:0 >"$work/receive" 2>&1 &
    receiver=$!
    for _ in {1..100}; do
        port=$(sed -n 's/^waiting at 127.0.0.1:\([0-9]*\) .*/\1/p' "$work/receive")
        [[ -n $port ]] && return 0
        sleep 0.1
    done
    cat "$work/receive"
    return 1
}

migrate()
{
    timeout 60 "$tern" migrate --qmp "$work/a.qmp" --to "127.0.0.1:$port" --verify "$@" >"$work/migrate" 2>"$work/errors"
}

moves()
{
    migrate --json || { cat "$work/migrate" "$work/errors" && return 1; }
    wait "$receiver" || { cat "$work/receive" && return 1; }
    tail -n 1 "$work/migrate" | grep '"event":"done"' | grep '"ok":true' | grep "\"tracker\":\"$tracker\"" |
        grep -q '"verified":true'
}

source_has_ended()
{
    for _ in {1..50}; do
        kill -0 "${pids[0]}" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

is_refused()
{
    migrate
    [[ $? -eq 1 ]] && cat "$work/errors" && [[ $(wc -l <"$work/errors") -le 2 ]] && grep -q "$1" "$work/errors"
}

interrupt()
{
    local pid
    "$tern" migrate --qmp "$work/a.qmp" --to "127.0.0.1:$port" --bandwidth 50Mb/s >"$work/migrate" 2>"$work/errors" &
    pid=$!
    for _ in {1..100}; do
        grep -q pre-copy "$work/errors" && break
        sleep 0.1
    done
    kill -INT $pid
    wait $pid
    [[ $? -eq 1 ]] && grep -q cancelled "$work/errors"
}

counter()
{
    od -An -tu4 -j $((0x180000)) -N 4 "$work/a.ram" | tr -d ' '
}

# The guest goes on, nobody traces QEMU, and none of its memory is write-protected any more.
is_untouched()
{
    local before i
    grep -q '^TracerPid:[[:space:]]*0$' "/proc/$1/status" || return 1
    grep -qE '^State:[[:space:]]*[RSD]' "/proc/$1/status" || return 1
    ! grep -A 30 "$work/a.ram" "/proc/$1/smaps" | grep '^VmFlags' | grep -qw 'uw' || return 1
    before=$(counter)
    for ((i = 0; i < 50; i++)); do
        [[ $(counter) -gt $before ]] && return 0
        sleep 0.1
    done
    return 1
}

# kill -9 at any moment: while QEMU's thread is borrowed, while pages are tracked, in the rounds.
killed_anywhere()
{
    local source=${pids[0]} i pid
    for i in 0 2 4 5 6 7 8 9 10 12 15 20 40; do
        receive || return 1
        "$tern" migrate --qmp "$work/a.qmp" --to "127.0.0.1:$port" --bandwidth 50Mb/s >"$work/migrate" 2>&1 &
        pid=$!
        sleep "0.0$((i / 10))$((i % 10))"
        kill -9 $pid
        wait $pid 2>/dev/null
        kill "$receiver" 2>/dev/null
        wait "$receiver"
        is_untouched "$source" || { echo "killed after ${i}0 ms" && grep -E 'State|TracerPid' "/proc/$source/status" && return 1; }
    done
}

qemu a on -kernel "$writer" && qemu b on -incoming defer || exit 1
check "the source is active" status_is a active
check "the destination is inactive" status_is b inactive
check "it waits" receive
check "an interrupt cancels" interrupt
wait "$receiver"
check "the destination says so" test $? -eq 1
check "the guest is active all the same" status_is a active
check "killed at any moment it leaves QEMU as it was" killed_anywhere
check "the destination waits again" receive
check "the guest moves, verified" moves
check "the destination is active" status_is b active
check "the source's QEMU has ended" source_has_ended
end
qemu a on -kernel "$writer" && qemu b on -incoming defer && receive || exit 1
check "it moves with --keep-source" migrate --keep-source
wait "$receiver"
check "the source's guest is stopped" status_is a inactive
end
qemu a off -kernel "$writer" || exit 1
check "RAM that is not shared is refused by name" is_refused "share"
check "and that guest is active" status_is a active
end
check "nobody there is inactive" status_is a inactive
exit $failed
