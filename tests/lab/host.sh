#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Process 1 of a virtual host: mounts, network, soft-RoCE, KVM; then the host's script, whose exit status ends up in
# $DIR/.lab/$HOST.status. The runner ends the host when it has every status. Usage: host.sh DIR (shared, writable).
# Knows nothing of tern.
dir=$1
host=$(sed -E 's/.*lab\.host=([ab]).*/\1/' /proc/cmdline)
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

finish()
{
    [[ -z ${2-} ]] || echo "lab: host $host: $2" >>"$dir/$host.log"
    dmesg >"$dir/.lab/$host.dmesg" 2>/dev/null
    echo "$1" >"$dir/.lab/$host.status.new"
    mv "$dir/.lab/$host.status.new" "$dir/.lab/$host.status"
    while :; do sleep 60; done
}

need()
{
    "$@" || finish 125 "cannot: $*"
}

# A tmpfs over a folder, unless the project or the shared folder lies in it.
fresh()
{
    case $TERN_LAB_ROOT/:$dir/ in
    "$1"/* | *:"$1"/*) ;;
    *) mkdir -p "$1" && need mount -t tmpfs -o "mode=$2" tmpfs "$1" ;;
    esac
}

mounts()
{
    mkdir -p /dev/pts /dev/shm /dev/hugepages
    need mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
    need mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    need mount -t hugetlbfs hugetlbfs /dev/hugepages
    need mount -t cgroup2 cgroup2 /sys/fs/cgroup
    need mount -t tracefs tracefs /sys/kernel/tracing
    [[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
    [[ -e /dev/stdin ]] || ln -s /proc/self/fd/0 /dev/stdin
    [[ -e /dev/stdout ]] || ln -s /proc/self/fd/1 /dev/stdout
    [[ -e /dev/stderr ]] || ln -s /proc/self/fd/2 /dev/stderr
    fresh /tmp 1777
    fresh /var/tmp 1777
    fresh /run 755
    hostname "lab-$host"
    ulimit -l unlimited
    ulimit -c 0
}

# The kernel names cards in the order it finds them; a rail's number is in its card's hardware address.
name_cards()
{
    local card rail
    for card in /sys/class/net/eth*; do
        rail=$(cut -d: -f5 "$card/address")
        need ip link set "${card##*/}" name "rail${rail#0}"
    done
    for ((rail = 0; rail < TERN_LAB_RAILS; rail++)); do
        need ip link set "rail$rail" name "eth$rail"
    done
}

# One network card a rail: eth0 10.77.0.x/24 fd77::x/64 rxe0, eth1 10.77.1.x/24 fd77:0:0:1::x/64 rxe1, ...
network()
{
    local number=$1 rail net
    need modprobe virtio_net
    need modprobe rdma_rxe
    need modprobe rdma_ucm
    need modprobe ib_uverbs
    need ip link set lo up
    name_cards
    for ((rail = 0; rail < TERN_LAB_RAILS; rail++)); do
        net=eth$rail
        echo 0 >"/proc/sys/net/ipv6/conf/$net/accept_dad"
        need ip link set "$net" mtu 9000
        need ip link set "$net" up
        need ip address add "10.77.$rail.$number/24" dev "$net"
        need ip address add "fd77:0:0:$rail::$number/64" dev "$net" nodad
        need rdma link add "rxe$rail" type rxe netdev "$net"
    done
}

echo "lab: host $host: up" >/dev/console
mount -o remount,rw / 2>/dev/null
# shellcheck source=/dev/null
. "$dir/.lab/env"
mounts
case $host in
a) self=1 peer=2 ;;
*) self=2 peer=1 ;;
esac
network "$self"
if [[ $TERN_LAB_KVM = 1 ]]; then
    need modprobe kvm_amd npt=1
fi
[[ $TERN_LAB_HOSTS = 2 ]] || peer=$self
export TERN_LAB_HOST=$host TERN_LAB_SELF=10.77.0.$self TERN_LAB_PEER=10.77.0.$peer \
    TERN_LAB_SELF6=fd77::$self TERN_LAB_PEER6=fd77::$peer
cd "$TERN_LAB_ROOT" || finish 125 "cannot enter $TERN_LAB_ROOT"
: >"$dir/.lab/$host.up"
{ while echo >"$dir/.lab/$host.alive"; do sleep 2; done; } & # for as long as this host's kernel runs anything
script=$(cat "$dir/.lab/$host.script")
if [[ -f $script ]]; then
    bash "$script" </dev/null >>"$dir/$host.log" 2>&1
else
    bash -c "$script" </dev/null >>"$dir/$host.log" 2>&1
fi
finish $?
