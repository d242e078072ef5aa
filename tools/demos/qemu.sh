#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The guest of a QEMU that nobody patched moves from host a to host b, while clients download from its web server. Called
# by tools/demo in the project's root, as root:
#   qemu.sh here                 the hosts are network namespaces of this machine, the clients are in a third; over TCP
#   qemu.sh two                  two virtual hosts, over RDMA; the clients are on host a
#   qemu.sh lab-two              the part inside each virtual host
# Both hosts have a bridge with the guest's tap; the guest's address is in their network.
set -uo pipefail
. tools/demos/common.sh
. tests/guest/network.sh

port=7471
memory=1G data_mib=256 file_mib=8 limit=50ms connections=4
work=$(mktemp -d /dev/shm/tern-demo.XXXXXX)

leave()
{
    end_processes
    delete_namespaces
    rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT TERM

# ---- the guest ----

prepare_guest()
{
    append="guest.ip=$guest_ip/24 guest.data=$data_mib guest.file=$file_mib guest.rewrite=1024 guest.every=200"
    make_guest || fail "no guest to boot"
    choose_accelerator
}

# boot HOST ARGUMENTS...
boot()
{
    at "$1"
    start_qemu "$@" "${card[@]}" ||
        fail "QEMU does not start on host $1"
}

start_guest()
{
    boot a
    wait_for "the guest's first word" says a 'guest: tick'
    heading "a Linux guest runs in QEMU (process ${qemu[a]}, $accelerator) on host a"
    echo "$(qemu-system-x86_64 --version | head -n 1), $memory of memory; the guest keeps $data_mib MiB of data that it checks,"
    echo "rewrites 1 MiB of it five times a second, and serves a file of $file_mib MiB at http://$guest_ip/file"
    echo "it says: $(last_tick a)"
}

# start_waiting ADDRESS OPTIONS...
start_waiting()
{
    local address=$1
    shift
    boot b -incoming defer
    start "$work/receive" tern receive --qmp "$work/b.qmp" --listen "$address:$port" "$@"
    receiver=$started
    wait_for "tern receive on host b" grep -q waiting "$work/receive"
}

# ---- the clients ----

# start_clients HOST SECONDS
start_clients()
{
    at "$1"
    start "$work/clients" tern-perf web --url "http://$guest_ip/file" --connections $connections --duration 280s
    clients=$started
    heading "$connections clients download all the time"
    sleep "$2"
}

end_clients()
{
    kill -TERM "$clients"
    wait "$clients" || { cat "$work/clients" && fail "the clients did not get what they asked for"; }
    heading "what the clients saw, before, during and after"
    cat "$work/clients"
}

# ---- the migration, and the proof ----

migrate()
{
    local address=$1
    shift
    heading "tern migrate --qmp --to $address:$port --verify $*"
    on a tern migrate --qmp "$work/a.qmp" --to "$address:$port" --verify "$@" || fail "it was not migrated"
    wait "${qemu[a]}" || fail "the source's QEMU ended with $?"
    echo "The source's QEMU has ended."
}

# prove LAST_TICK_AT_A: the guest goes on here, and has checked all of its data from before the migration until after it.
prove()
{
    local before=${1##* } last first
    wait_for "the guest's word on host b" says b 'guest: tick'
    wait_for "the guest's check of all its data" checked_since b $((before + 1))
    heading "the guest on host b"
    echo "last on host a:  $1"
    echo "first on host b: $(grep -o 'guest: tick .*' "$work/b.serial" | head -n 1)"
    echo "now:             $(last_tick b)"
    ! complaints || fail "the guest is damaged"
    last=$(sed -n 's/guest: tick \([0-9]*\) .*/\1/p' <<<"$1")
    first=$(grep -o '^guest: tick [0-9]*' "$work/b.serial" | head -n 1)
    # A line that the move cut is neither here nor there.
    [[ ${first##* } -ge $last && ${first##* } -le $((last + 2)) ]] ||
        fail "the guest did not go on: it has started anew (tick $last, then ${first##* })"
    echo "It has checked every word of its $data_mib MiB again since it is here: all is as it must be."
}

here()
{
    make_namespaces tern-demo
    prepare_guest
    start_waiting "${ip[b]}"
    start_guest
    start_clients clients 3
    migrate "${ip[b]}" --downtime-limit "$limit"
    sleep 3
    end_clients
    prove "$(last_tick a)"
}

# Between two virtual hosts the guest's network is a wire of its own; RDMA has the other. Emulated hosts are slow.
in_virtual_host()
{
    local shared=$TERN_LAB_OUT
    memory=512M data_mib=64 file_mib=1 limit=500ms connections=2
    modprobe -a bridge tun || fail "this kernel has no bridge or tap"
    ip address flush dev eth1
    . tests/lab/bystander.sh
    bystander || fail "KVM does not work in the virtual host"
    prepare_guest
    bridge "$TERN_LAB_HOST" eth1
    if [[ $TERN_LAB_HOST = b ]]; then
        start_waiting "$TERN_LAB_SELF" --transport verbs
        touch "$shared/waiting"
        wait_for "the guest" test -e "$shared/migrated"
        wait "$receiver" || fail "it did not come"
        prove "$(<"$shared/migrated")"
        touch "$shared/proved"
    else
        start_guest
        wait_for "host b" test -e "$shared/waiting"
        start_clients a 5
        migrate "$TERN_LAB_PEER" --downtime-limit "$limit" --transport verbs
        sleep 5
        end_clients
        last_tick a >"$shared/migrated.new" && mv "$shared/migrated.new" "$shared/migrated"
        wait_for "host b" test -e "$shared/proved"
    fi
}

case $1 in
here) here ;;
two) in_lab tools/demos/qemu.sh lab-two --hosts 2 --rails 2 --memory 1536M ;;
lab-two) in_virtual_host ;;
esac
