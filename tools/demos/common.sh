# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the demonstrations share. Sourced in the project's root.
export PATH="${PATH:-}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME="${HOME:-/root}" LC_ALL=C.UTF-8
export PATH=$PWD/build/bin:$PATH
. tests/guest/lib.sh # processes that end with this one, and the Linux guest

fail()
{
    echo "demo: $1" >&2
    exit 1
}

heading()
{
    printf '\n== %s\n' "$1"
}

# wait_for WHAT COMMAND...: until the command succeeds.
wait_for()
{
    local what=$1
    shift
    wait_until 90 "$@" || fail "$what: not within 90 s"
}

prepare()
{
    tests/packages || exit 1
    mkdir -p build
    { cmake --preset release && cmake --build --preset release; } >build/demo.log 2>&1 || {
        tail -n 30 build/demo.log
        fail "the build failed"
    }
}

# in_lab SCRIPT PART OPTIONS...: the same script again inside virtual hosts; ends this one with its status.
in_lab()
{
    local script=$1 part=$2 folder status
    shift 2
    mkdir -p build/lab
    folder=$(mktemp -d build/lab/demo.XXXXXX)
    echo "virtual hosts start (some seconds)"
    tests/lab/run --out "$folder" --timeout 300 "$@" -- "exec bash $script $part"
    status=$?
    rm -rf "$folder"
    exit $status
}
