# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# The Linux test guest in a QEMU that nobody patched, for demonstrations, tests and figures. Sourced in the project's
# root; the build is in build/. Set before use (defaults here):
work=${work-}           # folder of everything: NAME.ram NAME.qmp NAME.monitor NAME.serial NAME.log initrd
memory=${memory:-512M}  # of the guest
append=${append-}       # the guest's guest.* words, see init
server=${server-}       # lighttpd: that is the guest's web server; else busybox's
ram=${ram:-file}        # memory-backend-file in $work; memfd; huge (of 2 MiB pages); numa (two files, a node each)
enter=("${enter[@]}")   # words before a command, e.g. ip netns exec NAME
declare -A qemu         # NAME: process
# Invariant: what is started here is in pids, by process number, and end_processes ends it.
pids=()

end_processes()
{
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null
    done
    pids=()
}

# start OUTPUT COMMAND...: in the background; its process, not a shell around it, is $started. Ends with this shell.
start()
{
    local output=$1
    shift
    "${enter[@]}" setpriv --pdeathsig KILL "$@" >"$output" 2>&1 &
    started=$!
    pids+=("$started")
}

# wait_until SECONDS COMMAND...: until it succeeds; 1 if it does not.
wait_until()
{
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [[ $SECONDS -lt $end ]] || return 1
        sleep 0.05
    done
}

# QEMU before 8.0 emulates cmpxchg16b wrongly: an operand of the addition before it stays where the flags are taken from
# if an interrupt comes next (EFLAGS with NT, TF or DF in it). Linux does both in each allocation: guests under load fell of
# that, or went on damaged.
emulated_cpu=max,-cx16

# KVM may be there and not be fit for QEMU all the same.
choose_accelerator()
{
    accelerator=tcg cpu=$emulated_cpu
    if (timeout 10 qemu-system-x86_64 -accel kvm -cpu host -S -nodefaults -display none -monitor stdio <<<quit) \
        >/dev/null 2>&1; then
        accelerator=kvm cpu=host
    fi
} 2>/dev/null

# make_guest: $kernel and $work/initrd.
make_guest()
{
    local cache=${TERN_LAB_CACHE:-build/lab} program=''
    kernel=$(tests/lab/kernel.sh "${guest_series:-6.12}" "$cache") &&
        { [[ $server != lighttpd ]] || program=$(tests/guest/lighttpd.sh "$cache"); } &&
        tests/guest/make_initrd "$work/initrd" build/tests/guest_work "$kernel" "$program"
}

# The words for QEMU that make the guest's memory.
memory_words()
{
    local name=$1 half=$((${memory%[MG]} / 2))${memory##*[0-9]}
    case $ram in
    numa)
        words=(-machine q35 -numa node,memdev=m0 -numa node,memdev=m1
            -object "memory-backend-file,id=m0,size=$half,share=on,mem-path=$work/$name.ram"
            -object "memory-backend-file,id=m1,size=$half,share=on,mem-path=$work/$name.ram1")
        ;;
    memfd) words=(-machine q35,memory-backend=ram -object "memory-backend-memfd,id=ram,size=$memory,share=on") ;;
    huge)
        words=(-machine q35,memory-backend=ram
            -object "memory-backend-memfd,id=ram,size=$memory,share=on,hugetlb=on,hugetlbsize=2M")
        ;;
    *)
        words=(-machine q35,memory-backend=ram
            -object "memory-backend-file,id=ram,size=$memory,share=on,mem-path=$work/$name.ram")
        ;;
    esac
}

# start_qemu NAME ARGUMENTS...: the guest boots; with -incoming defer it waits.
start_qemu()
{
    local name=$1 words
    shift
    rm -f "$work/$name".{ram,ram1,qmp,monitor}
    memory_words "$name"
    : >"$work/$name.serial"
    start "$work/$name.log" qemu-system-x86_64 -accel "$accelerator" -cpu "$cpu" -nodefaults -no-user-config \
        -display none -m "$memory" "${words[@]}" \
        -serial "file:$work/$name.serial" -qmp "unix:$work/$name.qmp,server=on,wait=off" \
        -qmp "unix:$work/$name.monitor,server=on,wait=off" \
        -kernel "$kernel/vmlinuz" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1 $append" "$@"
    qemu[$name]=$started
    wait_until 20 qemu_is_up "$name"
}

qemu_is_up()
{
    kill -0 "${qemu[$1]}" 2>/dev/null || { cat "$work/$1.log" >&2 && return 1; }
    [[ -S $work/$1.monitor ]]
}

# says NAME PATTERN: has the guest said it there?
says()
{
    grep -q "$2" "$work/$1.serial"
}

last_tick()
{
    tr -d '\r' <"$work/$1.serial" | grep -o '^guest: tick .* whole [0-9]*$' | tail -n 1
}

# ticks_follow SERIAL SERIAL...: in what the guest said at one place after the other no tick is missing. A line may have
# been cut by its move.
ticks_follow()
{
    cat "$@" | tr -d '\r' | sed -n 's/^guest: tick \([0-9]*\) .*/\1/p' |
        awk 'NR > 1 && $1 != last + 1 {print "tick " last ", then " $1; bad = 1} {last = $1} END {exit bad || !NR}'
}

# field NAME WORD: the number behind it in the last tick; 0 if there was none.
tick_field()
{
    local number
    number=$(last_tick "$1" | sed -n "s/.*$2 \([0-9]*\).*/\1/p")
    echo "${number:-0}"
}

# ticks_on NAME TICK: the guest has gone on beyond that tick.
ticks_on()
{
    [[ $(tick_field "$1" tick) -gt $2 ]]
}

# checked_since NAME WHOLE: all of the guest's data was checked once more since it said that.
checked_since()
{
    [[ $(tick_field "$1" whole) -gt $2 ]]
}

# complaints: what no guest may have said; 0 if it did.
complaints()
{
    grep -h -E 'DAMAGED|guest: cannot|Call Trace|BUG:|soft lockup|Kernel panic' "$work"/*.serial
}

# qmp NAME COMMAND [ARGUMENTS as JSON]: by the second monitor; prints the answers.
qmp()
{
    local arguments=${3-}
    printf '%s\n' '{"execute":"qmp_capabilities"}' "{\"execute\":\"$2\"${arguments:+,\"arguments\":$arguments}}" |
        timeout 10 socat -t 5 - "UNIX-CONNECT:$work/$1.monitor"
}
