# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Two hosts, a and b, and the clients of their guest, as network namespaces of this machine on one bridge, as on a switch.
# Hosts a and b have a bridge of their own with the guest's tap; the guest's address is in their network. Sourced after
# lib.sh, which runs what is started; needs fail MESSAGE.
guest_ip=10.78.0.2
declare -A ip=([a]=10.78.0.11 [b]=10.78.0.12 [clients]=10.78.0.1)
tag='' # of the namespaces' names; empty: no namespaces, each host is a machine
card=(-netdev tap,id=net,ifname=tap0,script=no,downscript=no -device virtio-net-pci,netdev=net,romfile=)

# at HOST: what is started from here on is there.
at()
{
    [[ -z $tag ]] || enter=(ip netns exec "$tag-$1")
}

# on HOST COMMAND...
on()
{
    at "$1"
    shift
    "${enter[@]}" "$@"
}

# bridge HOST WIRE: a bridge with that card, this host's address and, for a and b, the guest's tap.
bridge()
{
    local host=$1 wire=$2
    on "$host" ip link set lo up &&
        on "$host" ip link add guests type bridge forward_delay 0 &&
        on "$host" ip link set "$wire" master guests up &&
        on "$host" ip address add "${ip[$host]}/24" dev guests &&
        on "$host" ip link set guests up || fail "cannot make a bridge on host $host"
    [[ $host != clients ]] || return 0
    on "$host" ip tuntap add tap0 mode tap && on "$host" ip link set tap0 master guests up ||
        fail "cannot make a tap on host $host: is there /dev/net/tun?"
}

# make_namespaces TAG: their names are TAG-PROCESS-HOST.
make_namespaces()
{
    local name
    tag=$1-$$
    for name in clients a b; do
        ip netns add "$tag-$name" || fail "cannot make a network namespace: run it as root"
    done
    for name in a b; do
        on clients ip link add "to-$name" type veth peer name wire netns "$tag-$name" || fail "cannot make a veth pair"
    done
    bridge clients to-a
    on clients ip link set to-b master guests up || fail "cannot join host b to the bridge"
    bridge a wire
    bridge b wire
}

# After the processes in them have ended.
delete_namespaces()
{
    local name
    [[ -n $tag ]] || return 0
    for name in a b clients; do
        ip netns delete "$tag-$name" 2>/dev/null
    done
}
