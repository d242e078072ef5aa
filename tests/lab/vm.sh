# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For suites with guests of tern's own VMM: start one, and look at it. $sockets is a folder of the suite's.
# shellcheck disable=SC2154

# vm_up NAME ARGUMENTS...: a VM process, until its control socket answers.
vm_up()
{
    local name=$1
    shift
    tern vm "$@" --control "$sockets/$name" >"$TERN_LAB_OUT/$TERN_LAB_HOST.$name" 2>&1 &
    echo $! >"$sockets/$name.pid"
    for _ in {1..200}; do
        tern status --vm "$sockets/$name" --json 2>/dev/null | grep -q '"guest"' && return 0
        kill -0 "$(<"$sockets/$name.pid")" 2>/dev/null || break
        sleep 0.1
    done
    cat "$TERN_LAB_OUT/$TERN_LAB_HOST.$name"
    return 1
}

payload_is_whole()
{
    tern status --vm "$sockets/$1"
    [[ $(tern status --vm "$sockets/$1" | head -n 1) = active ]] && tern verify --vm "$sockets/$1"
}
