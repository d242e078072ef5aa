#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A Linux guest in QEMUs that nobody patched, under TCG, over tcp: ten times there and back while it serves downloads,
# writes and reads its disk and rewrites its memory; then with other kinds of memory, and into an image and out of it. It
# checks every word of its own data, each migration is verified, and clients check what they download.
# Usage: qemu_linux.sh BUILD_FOLDER [PART...]. Makes a network namespace of its own.
set -uo pipefail
if [[ ${IN_NAMESPACE-} != 1 ]]; then
    # While there is a network: the kernel may have to be fetched.
    "$(dirname "$0")/../lab/kernel.sh" 6.12 "${TERN_LAB_CACHE:-$(dirname "$0")/../../build/lab}" >/dev/null || exit 1
    exec env IN_NAMESPACE=1 unshare --net -- bash "$0" "$@"
fi
build=$(realpath "$1") parts=("${@:2}")
[[ ${#parts[@]} -gt 0 ]] || parts=(there_and_back huge numa memfd direct image)
cd "$(dirname "$0")/../.." || exit 1
export PATH=$build/bin:$PATH:/usr/sbin:/sbin
. tests/guest/lib.sh
work=$(mktemp -d /dev/shm/tern_linux_XXXXXX) port=7477 failed=0 limit=50ms
pages_before=$(</proc/sys/vm/nr_hugepages)
trap 'end_processes; echo "$pages_before" >/proc/sys/vm/nr_hugepages; rm -rf "$work"' EXIT

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

network()
{
    ip link add guests type bridge forward_delay 0
    ip address add 10.78.0.1/24 dev guests
    ip link set guests up
    for tap in tap_a tap_b; do
        ip tuntap add $tap mode tap
        ip link set $tap master guests up
    done
}

# boot NAME ARGUMENTS...: with a network card and a disk, which both ends share.
boot()
{
    start_qemu "$@" -netdev "tap,id=net,ifname=tap_$1,script=no,downscript=no" \
        -device virtio-net-pci,netdev=net,romfile= -drive "file=$work/disk,format=raw,if=virtio,cache=writeback"
}

receives()
{
    grep -q waiting "$work/receive"
}

# move FROM TO OPTIONS...
move()
{
    local from=$1 to=$2 receiver
    shift 2
    : >"$work/receive"
    start "$work/receive" tern receive --qmp "$work/$to.qmp" --listen "127.0.0.1:$port"
    receiver=$started
    wait_until 20 receives || { cat "$work/receive" && return 1; }
    tern migrate --qmp "$work/$from.qmp" --to "127.0.0.1:$port" --verify --json "$@" >"$work/events" 2>&1 ||
        { grep -v '"progress"' "$work/events" && return 1; }
    grep '"event":"done"' "$work/events" | grep -q '"verified":true' || return 1
    wait "$receiver" || { cat "$work/receive" && return 1; }
    wait "${qemu[$from]}"
}

# goes_on FROM TO WHOLE: no tick is missing, and it has checked all its data since.
goes_on()
{
    wait_until 40 says "$2" 'guest: tick' || return 1
    wait_until 60 checked_since "$2" "$3" || { tail -n 3 "$work/$2.serial" && return 1; }
    ticks_follow "$work/$1.serial" "$work/$2.serial" && ! complaints
}

ten_times()
{
    local from=a to=b i
    for ((i = 0; i < 10; i++)); do
        boot $to -incoming defer && move $from $to || { echo "migration $i" && return 1; }
        wait_until 40 says $to 'guest: tick' || { echo "after migration $i" && return 1; }
        [[ $i -eq 9 ]] || read -r from to <<<"$to $from"
    done
    goes_on $from $to $(($(tick_field $from whole) + 1))
}

downloads_are_right()
{
    kill "$clients"
    wait "$clients"
    local status=$?
    cat "$work/clients"
    return $status
}

disk_goes_on()
{
    local before
    before=$(grep -c 'guest: disk' "$work/a.serial")
    [[ $before -gt 0 ]] && wait_until 20 more_disk "$before"
}

more_disk()
{
    [[ $(grep -c 'guest: disk' "$work/a.serial") -gt $1 ]]
}

there_and_back()
{
    network
    truncate -s 16M "$work/disk"
    memory=256M append="guest.ip=10.78.0.2/24 guest.file=2 guest.data=32 guest.rewrite=512 guest.every=100"
    check "Linux boots" boot a
    check "it works" wait_until 60 says a 'guest: tick'
    start "$work/clients" tern-perf web --url http://10.78.0.2/file --connections 3 --duration 170s
    clients=$started
    check "it moves ten times, there and back, and is whole" ten_times
    check "its disk goes on" disk_goes_on
    check "its clients got what they asked for" downloads_are_right
    end_processes
}

# with KIND ARGUMENTS...: an idle guest whose memory is of that kind moves once.
with()
{
    ram=$1 memory=256M append="guest.data=32 guest.rewrite=0 guest.disk=read"
    shift
    check "Linux boots, its memory: $ram" start_qemu a "$@"
    check "it works" wait_until 60 says a 'guest: tick'
    check "a QEMU waits for it" start_qemu b "$@" -incoming defer
    check "it moves" move a b --downtime-limit "$limit"
    check "it goes on, whole" goes_on a b $(($(tick_field a whole) + 1))
    end_processes
}

huge()
{
    echo 280 >/proc/sys/vm/nr_hugepages
    with huge
    echo "$pages_before" >/proc/sys/vm/nr_hugepages
}

numa()
{
    with numa
}

memfd()
{
    with memfd
}

# A disk past the page cache: every look at the pages is taken with the guest stopped.
direct()
{
    limit=1s # on a busy machine QEMU takes its time to stop
    with file -blockdev null-co,node-name=zeros,size=$((1 << 30)),read-zeroes=on,cache.direct=on -device virtio-blk-pci,drive=zeros
    check "it was held still for every look" eval \
        'grep "\"event\":\"done\"" "$work/events" | grep -q "\"tracker\":\"[a-zA-Z -]* in QEMU, drained\""'
}

suspended()
{
    tern suspend --qmp "$work/a.qmp" --to "$work/image" --json >"$work/events" 2>&1 || { cat "$work/events" && return 1; }
    wait "${qemu[a]}"
}

# Into an image and out of it, while it writes its disk and its memory.
image()
{
    local disk="-drive file=$work/disk,format=raw,if=virtio,cache=writeback"
    truncate -s 16M "$work/disk"
    memory=256M append="guest.data=32 guest.rewrite=512 guest.every=100"
    # shellcheck disable=SC2086
    check "Linux boots, with a disk" start_qemu a $disk
    check "it works" wait_until 60 says a 'guest: tick'
    check "it is suspended, and its QEMU gone" suspended
    # shellcheck disable=SC2086
    check "a QEMU waits for it" start_qemu b $disk -incoming defer
    check "it is resumed" tern resume --qmp "$work/b.qmp" --from "$work/image" --quiet
    check "it goes on, whole" goes_on a b $(($(tick_field a whole) + 1))
    end_processes
}

ip link set lo up
make_guest || exit 1
accelerator=tcg cpu=$emulated_cpu
for part in "${parts[@]}"; do
    $part
done
exit $failed
