#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 2 --rails 2 --memory 1536M --timeout 420
# Two rails: lanes ride both, each with keys of its own; when one goes down in the middle of a round, the other carries
# the rest; when it is up again its lane comes back; and the guest arrives whole.
# The long one moves a synthetic guest, which is to write for a minute: emulated SVM breaks KVM's guests now and then
# (bystander.sh says how), and one that stands still has arrived before a rail is back. A guest under KVM has a short one, and a
# second try if its CPU broke it.
. tests/lab/lib.sh
. tests/lab/bystander.sh
. tests/lab/vm.sh
both=rxe0,rxe1 sockets=$(mktemp -d)

sent_over()
{
    cat "/sys/class/infiniband/$1/ports/1/hw_counters/sent_pkts"
}

# Both wires are up: the first packet of a new one may be lost.
wires()
{
    ping -c 1 -W 10 "$TERN_LAB_PEER"
    ping -c 1 -W 10 "${TERN_LAB_PEER/10.77.0/10.77.1}" || ping -c 1 -W 10 "${TERN_LAB_PEER/10.77.0/10.77.1}"
}

# Each rail carried a part: 64 MiB are 16384 packets of 4 KiB, and the faster rail takes more of them.
rides_both()
{
    local before0 before1
    before0=$(sent_over rxe0) before1=$(sent_over rxe1)
    tern-perf migrate --to "$TERN_LAB_PEER:7471" --transport verbs --device $both --lanes 4 --memory 256M --random 64M \
        --working-set 8M --dirty-pages 1000 --verify --json "$@" | tee "$TERN_LAB_OUT/both"
    grep '"event":"run"' "$TERN_LAB_OUT/both" | grep '"verified":true' | grep '"device":"rxe0,rxe1"' |
        grep -qE '"write_bytes":[1-9].*"queue_depth":[1-9].*"signal_every":[1-9]'
    echo "packets sent: rxe0 $(($(sent_over rxe0) - before0)), rxe1 $(($(sent_over rxe1) - before1))"
    (($(sent_over rxe0) - before0 > 1500 && $(sent_over rxe1) - before1 > 1500))
}

receives_both()
{
    tern-perf migrate --listen ":7471" --transport verbs --device $both --memory 256M "$@"
}

# The guest writes faster than is sent, and is slowed down until the migration fits, or the deadline comes: there are many
# rounds, also while lanes are away.
start_migration()
{
    tern-perf migrate --to "$TERN_LAB_PEER:7472" --transport verbs --device $both --lanes 2 --memory 256M --random 64M \
        --working-set 24M --dirty-pages 100000 --bandwidth 100Mb/s --downtime-limit 300ms --deadline 110s --verify --json \
        >"$log" 2>&1 &
    pid=$!
}

log_says()
{
    timeout "$2" bash -c "until grep -q '$1' '$log'; do sleep 0.1; done" || { cat "$log" && return 1; }
}

# Packets that a rail sends from now on, until there are 300 or the migration has ended.
is_used()
{
    local before
    before=$(sent_over "$1")
    while (($(sent_over "$1") - before < 300)); do
        kill -0 "$pid" || return 1
        sleep 0.1
    done
    echo "$1 has sent $(($(sent_over "$1") - before)) packets since it is back"
}

# The first rail has the address that the control channel uses: only RDMA packets are lost there. Its lane comes back when
# they pass again; then the other rail goes down, in the same migration.
rails_go_down_and_come_back()
{
    local log=$TERN_LAB_OUT/down pid status=0
    lab_wait listens 60
    modprobe -a sch_ingress cls_u32 act_gact
    tc qdisc add dev eth0 clsact
    start_migration
    is_used rxe0
    tc filter add dev eth0 ingress protocol ip u32 match ip protocol 17 0xff match ip dport 4791 0xffff action drop
    log_says 'lane 0 is lost with its rail' 40
    tc qdisc del dev eth0 clsact
    log_says 'rail rxe0 is back: lane 0' 60
    is_used rxe0
    ip link set eth1 down
    log_says 'lane 1 is lost with its rail' 40
    sleep 1.5 # a try at least finds it down
    ip link set eth1 up
    log_says 'rail rxe1 is back: lane 1' 60
    is_used rxe1
    wait $pid || status=$?
    cat "$log"
    [[ $status -eq 0 ]]
    grep '"event":"run"' "$log" | grep -q '"verified":true'
}

destination_sees_it()
{
    lab_signal listens
    tern-perf migrate --listen :7472 --transport verbs --device $both --memory 256M >"$TERN_LAB_OUT/seen" 2>&1
    cat "$TERN_LAB_OUT/seen"
    grep -q 'lane 1 is lost' "$TERN_LAB_OUT/seen"
    grep -q 'lane 1 is back with its rail' "$TERN_LAB_OUT/seen"
}

# A rail goes down under a guest that runs under KVM.
guest_loses_a_rail()
{
    local log=$TERN_LAB_OUT/guest pid
    tern migrate --vm "$sockets/$1" --to "$TERN_LAB_PEER:7473" --transport verbs --device $both --lanes 2 \
        --bandwidth 100Mb/s --downtime-limit 3s --verify --json >"$log" 2>&1 &
    pid=$!
    is_used rxe0 || return 1
    tc filter add dev eth0 ingress protocol ip u32 match ip protocol 17 0xff match ip dport 4791 0xffff action drop
    wait $pid && grep -q 'lane 0 is lost with its rail' "$log" &&
        grep '"event":"done"' "$log" | grep '"ok":true' | grep -q '"verified":true'
}

# Where the emulated CPU broke the guest that is no verdict, and there is another.
guest_moves()
{
    local name moved
    watch_emulation
    for name in first second third; do
        moved=1
        vm_up $name run --memory 256M --low-memory 128M --fill 64M --working-set 8M --dirty-rate 500
        lab_wait "$name" 60
        guest_loses_a_rail $name || moved=0
        tc filter del dev eth0 ingress || true
        if emulation_broke; then
            lab_signal "$name.moved" again
            kill "$(<"$sockets/$name.pid")" 2>/dev/null || true
            echo >/sys/kernel/tracing/trace
            continue
        fi
        lab_signal "$name.moved" $moved
        grep -v '"event":"progress"' "$TERN_LAB_OUT/guest"
        return $((!moved))
    done
    return 1
}

guest_arrives()
{
    local name
    watch_emulation
    for name in first second third; do
        vm_up $name receive --memory 256M --low-memory 128M --listen :7473 --device $both
        lab_signal $name
        case $(lab_wait "$name.moved" 120) in
        1)
            payload_is_whole $name || { emulation_broke && echo "its CPU broke it, here"; return 1; }
            cat "$TERN_LAB_OUT/b.$name"
            grep -q 'lane 0 is lost' "$TERN_LAB_OUT/b.$name"
            return
            ;;
        again)
            kill "$(<"$sockets/$name.pid")" 2>/dev/null || true
            wait "$(<"$sockets/$name.pid")" || true # its port is free then
            ;;
        *) return 1 ;;
        esac
    done
    return 1
}

if [[ $TERN_LAB_HOST = a ]]; then
    plan 6
    lab_meet perf 60
    check --time 40 "both wires are up" wires
    check --time 60 "lanes ride both rails" rides_both
    lab_meet ring 60
    check --time 60 "and through the rings of both sides" rides_both --register ring
    export TERN_TEST_TRANSPORT=verbs TERN_TEST_HOST=$TERN_LAB_SELF
    check --time 90 "a lane that is lost and comes back, within one host" criterion test_verbs_rails
    lab_meet away 120
    check --time 220 "a rail goes down and comes back, then the other" rails_go_down_and_come_back
    lab_meet guest 120
    tc qdisc add dev eth0 clsact
    check --time 240 "a guest under KVM loses a rail on its way" guest_moves
    lab_meet end 120
else
    plan 4
    lab_signal perf && lab_wait perf 60 >/dev/null
    check --time 90 "the destination of that" receives_both
    lab_meet ring 60
    check --time 90 "the destination of that, with a ring" receives_both --register ring
    lab_meet away 120
    check --time 240 "the destination sees it go and come back" destination_sees_it
    lab_meet guest 120
    check --time 240 "it arrives whole" guest_arrives
    lab_meet end 120
fi
