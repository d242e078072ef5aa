#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tern migrate, receive and status with --qmp, as a script would use them: two QEMUs under TCG that nobody patched.
# Usage: qemu_command.sh TERN WRITER_KERNEL
set -uo pipefail
tern=$1 writer=$2 failed=0 port=0
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
    tail -n 1 "$work/migrate" | grep '"event":"done"' | grep '"ok":true' | grep '"tracker":"userfaultfd in QEMU"' |
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

qemu a on -kernel "$writer" && qemu b on -incoming defer || exit 1
check "the source is active" status_is a active
check "the destination is inactive" status_is b inactive
check "it waits" receive
check "an interrupt cancels" interrupt
wait "$receiver"
check "the destination says so" test $? -eq 1
check "the guest is active all the same" status_is a active
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
