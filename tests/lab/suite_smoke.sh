#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 2 --memory 1G --rails 2 --timeout 180
# lab-kernels: 6.12 6.1
# The lab itself: soft-RoCE on every rail, KVM, packets and RDMA between the hosts over IPv4 and IPv6.
. tests/lab/lib.sh

device_is_active()
{
    local text
    text=$(ibv_devinfo -d "$1")
    echo "$text"
    grep -q "PORT_ACTIVE" <<<"$text"
    grep -qE "active_mtu:[[:space:]]*4096" <<<"$text"
}

has_both_gids()
{
    local gids
    gids=$(cat /sys/class/infiniband/rxe0/ports/1/gids/*)
    grep -q "0000:0000:0000:0000:0000:ffff:0a4d:000${TERN_LAB_SELF##*.}" <<<"$gids"
    grep -q "fd77:0000:0000:0000:0000:0000:0000:000${TERN_LAB_SELF##*.}" <<<"$gids"
}

# QEMU before 8.0 leaves wrong flags after it (tests/guest/lib.sh, emulated_cpu).
lacks_cmpxchg16b()
{
    ! grep -w cx16 /proc/cpuinfo
}

kvm_opens()
{
    exec 3<>/dev/kvm
    [[ $(cat /sys/module/kvm_amd/parameters/npt) = [Y1] ]]
}

far_side_answers()
{
    ping -c 1 -W 5 -M "do" -s 8900 "$TERN_LAB_PEER"
    ping -6 -c 1 -W 5 "$TERN_LAB_PEER6"
}

loopback_pingpong()
{
    ibv_rc_pingpong -d rxe0 -g 1 -n 20 &
    until [[ -n $(ss -Hltn 'sport = :18515') ]]; do sleep 0.1; done
    ibv_rc_pingpong -d rxe0 -g 1 -n 20 127.0.0.1
    wait $!
}

# write_bw NAME PORT ADDRESS: host a serves, host b writes.
write_bw()
{
    local server=$TERN_LAB_OUT/.lab/write.$1
    if [[ $TERN_LAB_HOST = a ]]; then
        ib_write_bw -R -F -p "$2" -s 65536 -n 100 &
        echo $! >"$server"
        sleep 1 # rdma_cm listeners show nowhere; the other host tries again if this was too short
        lab_signal "listening.$1"
        wait $!
    else
        lab_wait "listening.$1"
        for _ in 1 2 3; do
            ib_write_bw -R -F -p "$2" -s 65536 -n 100 "$3" && return 0
            sleep 1
        done
        return 1
    fi
}

files_come_back()
{
    echo "from $TERN_LAB_HOST" >"$TERN_LAB_OUT/file.$TERN_LAB_HOST"
    lab_meet files
    [[ $(cat "$TERN_LAB_OUT/file.$lab_other") = "from $lab_other" ]]
}

plan 10
check "rxe0 is active with MTU 4096" device_is_active rxe0
check "rxe1 is active with MTU 4096" device_is_active rxe1
check "rxe0 has GIDs of both address families" has_both_gids
check "the CPU has no cmpxchg16b" lacks_cmpxchg16b
check "/dev/kvm opens, nested paging on" kvm_opens
check "files come back and cross over" files_come_back
check "the far side answers, jumbo frames too" far_side_answers
check "RC ping-pong over the host's own loopback" loopback_pingpong
check --time 60 "ib_write_bw -R between the hosts, first rail" write_bw first 18600 10.77.0.1
check --time 60 "ib_write_bw -R between the hosts, second rail" write_bw second 18601 10.77.1.1
