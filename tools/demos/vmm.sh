#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The guest of tern's own VMM moves from one process to another. Called by tools/demo in the project's root:
#   vmm.sh here|one|two          on this machine; in one virtual host; between two
#   vmm.sh lab-one|lab-two       the part inside the virtual hosts
set -uo pipefail
. tools/demos/common.sh

memory=512M fill=192M working_set=32M rate=4000 port=7471
work=${DEMO_FOLDER:-$(mktemp -d)}
leave()
{
    end_processes
    [[ -n ${DEMO_FOLDER-} ]] || rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT TERM

# value SOCKET NAME: one line of tern status.
value()
{
    tern status --vm "$work/$1" 2>/dev/null | sed -n "s/^$2  *//p"
}

listens()
{
    grep -q waiting "$work/destination.log"
}

beats()
{
    [[ $(value "$1" step) -gt ${2:-0} ]]
}

start_destination()
{
    start "$work/destination.log" tern vm receive --control "$work/destination" --listen "$1:$port" --memory $memory
    wait_for "the destination listens" listens
}

start_source()
{
    start "$work/source.log" tern vm run --control "$work/source" --memory $memory --fill $fill --working-set $working_set \
        --dirty-rate $rate
    source_pid=$started
    wait_for "the guest runs" beats source 2000
    heading "a guest runs in process $source_pid"
    echo "$memory of memory, $fill of it random data; it rewrites $working_set, $rate pages a second"
    tern status --vm "$work/source"
}

# Until it is the source's turn to end, its process must have done so by itself, with 0.
migrate_away()
{
    step_before=$(value source step)
    heading "tern migrate --to $1:$port --verify"
    tern migrate --vm "$work/source" --to "$1:$port" --verify --downtime-limit "$2" || fail "it was not migrated"
    wait "$source_pid" || fail "the source's process ended with $?"
    echo "$step_before" >"$work/step"
}

prove()
{
    local before
    before=$(<"$work/step")
    heading "the guest goes on at the destination"
    wait_for "the guest goes on" beats destination "$before"
    tern status --vm "$work/destination" || exit 1
    heading "tern verify"
    tern verify --vm "$work/destination" || fail "the guest is damaged"
    echo "Every word of its memory is what its steps make of it, and its checksum chain is unbroken: it was at step"
    echo "$before when tern migrate was called and is at step $(value destination step) now, without one step lost."
    tern quit --vm "$work/destination"
}

here()
{
    start_destination 127.0.0.1
    start_source
    migrate_away 127.0.0.1 "${1:-50ms}"
    echo "The source's process has ended; all it held is released."
    prove
}

two_hosts()
{
    work=$(mktemp -d)
    if [[ $TERN_LAB_HOST = b ]]; then
        start_destination "$TERN_LAB_SELF"
        touch "$DEMO_FOLDER/listening"
        wait_for "the source to be done" test -e "$DEMO_FOLDER/migrated"
        cp "$DEMO_FOLDER/step" "$work/step"
        prove
    else
        wait_for "host b to listen" test -e "$DEMO_FOLDER/listening"
        start_source
        migrate_away "$TERN_LAB_PEER" 2s
        cp "$work/step" "$DEMO_FOLDER/step"
        touch "$DEMO_FOLDER/migrated"
        echo "The source's process has ended; all it held is released."
    fi
}

usable_kvm()
{
    timeout 20 tern vm run --control "$work/probe" --memory 16M --fill 0 --working-set 0 >/dev/null 2>&1 &
    local pid=$! found=1
    for _ in {1..50}; do
        if beats probe -1; then
            found=0
            break
        fi
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    tern quit --vm "$work/probe" >/dev/null 2>&1 || kill $pid 2>/dev/null
    wait $pid 2>/dev/null
    return $found
}

case $1 in
lab-one)
    memory=256M fill=96M working_set=8M rate=1000
    here 2s
    ;;
lab-two)
    memory=256M fill=96M working_set=8M rate=1000 DEMO_FOLDER=$TERN_LAB_OUT
    two_hosts
    ;;
two) in_lab tools/demos/vmm.sh lab-two --hosts 2 --memory 1G ;;
one) in_lab tools/demos/vmm.sh lab-one --memory 2G ;;
*)
    if ! usable_kvm; then
        echo "This machine's KVM cannot be used, so the same happens in a virtual host that has one."
        in_lab tools/demos/vmm.sh lab-one --memory 2G
    fi
    here
    ;;
esac
