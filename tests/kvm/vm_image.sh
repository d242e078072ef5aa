#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck disable=SC2317 # functions that check calls
# tern suspend, vm resume, image and status of a VM under KVM, as a script would use them. Usage: vm_image.sh TERN
set -uo pipefail
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
tern=$1 failed=0 vm=''
work=$(mktemp -d /var/tmp/tern_image_XXXXXX)
cd "$work" || exit 1
trap '[[ -z $vm ]] || kill -9 "$vm" 2>/dev/null; rm -rf "$work"' EXIT

check()
{
    local name=$1
    shift
    if "$@"; then
        echo "ok $name"
    else
        echo "not ok $name"
        tail -n 5 out err log 2>/dev/null
        failed=1
    fi
}

t()
{
    timeout 60 "$tern" "$@" >out 2>err
}

# refused STATUS TEXT COMMAND...: that exit status, and one line that has this text
refused()
{
    local wanted=$1 text=$2 status
    shift 2
    t "$@"
    status=$?
    [[ $status -eq $wanted && $(wc -l <err) -eq 1 ]] && grep -qF -- "$text" err
}

status_is()
{
    t status --vm "$work/vm" && [[ $(head -n 1 out) = "$1" ]]
}

await_status()
{
    for _ in {1..200}; do
        status_is "$1" && return 0
        sleep 0.1
    done
    return 1
}

# up run|resume OPTIONS...: the VM's process, until its guest runs
up()
{
    "$tern" vm "$1" --control "$work/vm" "${@:2}" >log 2>&1 &
    vm=$!
    await_status active
}

ended()
{
    local status
    wait "$vm"
    status=$?
    vm=''
    [[ $status -eq $1 ]]
}

flip()
{
    local byte
    byte=$(od -An -tu1 -j "$1" -N 1 image)
    printf "$(printf '\\x%02x' $((byte ^ 1)))" | dd of=image bs=1 seek="$1" conv=notrunc status=none
}

# offset SECTION: of its first byte in the image
offset()
{
    t image image --json
    sed -nE "s/.*\"name\":\"$1\",\"offset\":([0-9]+).*/\1/p" out
}

check "a VM runs" up run --memory 96M --low-memory 64M --dirty-rate 2000
check "it is paused" t pause --vm vm
check "a paused one is not suspended" refused 1 'cannot suspend: the guest is paused' suspend --vm vm --to image
check "it goes on" t cont --vm vm
check "to a folder that is not there" refused 1 'cannot open the folder' suspend --vm vm --to no/image --quiet
check "it runs on" status_is active
prlimit --pid "$vm" --fsize=1000000:unlimited
check "beyond the limit of file sizes" refused 1 'File too large' suspend --vm vm --to image --quiet
check "it runs on behind the limit" status_is active
prlimit --pid "$vm" --fsize=unlimited
check "it is suspended" t suspend --vm vm --to image --json
check "done says so" grep -q '"event":"done","ok":true,"outcome":"suspended","transport":"file"' out
check "its process has ended" ended 0
check "its state is suspended" status_is suspended
check "and where" grep -qx "image  *$work/image" out
check "a suspended one is not paused" refused 1 'the VM is suspended, in' pause --vm vm
check "nor suspended" refused 1 'the VM is suspended, in' suspend --vm vm --to other --quiet
check "the image is whole" t image image
check "what is in it" grep -q "^image of a 'tern-vmm 1', version 1" out
cp --sparse=always image copy
check "it is resumed" up resume --from image
check "every word of it is whole" t verify --vm vm
check "it is suspended at once, over the older image" t suspend --vm vm --to image
check "its process has ended again" ended 0
check "the copy of the older one, all of it first" up resume --from copy --eager
check "every word of that is whole" t verify --vm vm
check "no second one at its socket" refused 1 'a live process holds vm' vm resume --control vm --from image
check "it ends" t quit --vm vm
ended 0
for section in profile digests state; do
    at=$(offset "$section")
    flip $((at + 5))
    check "a flipped bit in $section" refused 1 "section '$section' of the image is damaged" \
        vm resume --control vm --from image
    flip $((at + 5))
done
at=$(offset ram-low)
flip $((at + 5))
check "a flipped bit in memory, read first" refused 1 "section 'ram-low' of the image is damaged" \
    vm resume --control vm --from image --eager --quiet
check "and looked at" refused 1 "section 'ram-low' of the image is damaged" image image --quiet
"$tern" vm resume --control "$work/vm" --from image >log 2>&1 &
vm=$!
check "the guest that runs out of it is stopped" ended 1
check "and it is said why" grep -q "^tern: .*section 'ram-low' of the image is damaged" log
flip $((at + 5))
check "whole again" t image image --quiet
check "another file" refused 1 "section 'header': this is no image" vm resume --control vm --from "$tern"
check "no file" refused 1 'No such file' vm resume --control vm --from nothing
check "usage" refused 2 'option --from FILE is missing' vm resume --control vm
rm image
check "without its image it is inactive" status_is inactive
exit "$failed"
