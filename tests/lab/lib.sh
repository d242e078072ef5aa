# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For suites, the scripts that run inside a virtual host. A suite is tests/lab/suite_NAME.sh:
#
#   # lab: --hosts 2 --memory 1G --timeout 120    options of tests/lab/run (first lines of the file)
#   . tests/lab/lib.sh
#   plan 2                                        how many checks this host will make; ends the suite as failed if not
#   check "the far side answers" ping_peer        a function or command; passes with exit status 0
#   check --time 60 "a longer one" tern-perf ...  default limit: 30 s, then its process group is killed
#
# With two hosts the same file runs on both, TERN_LAB_HOST is a or b. A function is run with set -e: its first failing
# line fails it. Output is shown (as # lines) only for a failed check, and kept in $TERN_LAB_OUT/HOST.checks.
#   criterion PROGRAM [ARGUMENTS]  run build/tests/PROGRAM; fails too if no test ran, or one skipped itself
#   skip NAME WHY           counts as a planned check, and is reported
#   lab_signal NAME [TEXT]  tell the other host; lab_wait NAME [SECONDS]  wait for that (30 s) and print TEXT;
#                           fails at once when the other host's script has ended without it
#   lab_meet NAME [SECONDS] both hosts go on together
# Alone on one host, the other host is this one.

lab_other=$TERN_LAB_HOST
if [[ $TERN_LAB_HOSTS = 2 ]]; then
    lab_other=$([[ $TERN_LAB_HOST = a ]] && echo b || echo a)
fi
lab_planned=0 lab_ok=0 lab_failed=0 lab_skipped=0

plan()
{
    lab_planned=$1
    echo "1..$1"
}

lab_end()
{
    local status=$? made=$((lab_ok + lab_failed + lab_skipped))
    trap - EXIT
    echo "# $lab_ok ok, $lab_failed not ok, $lab_skipped skipped of $lab_planned planned"
    if [[ $lab_failed -gt 0 ]] && declare -F emulation_broke >/dev/null && emulation_broke; then
        echo "# QEMU's emulation broke a guest, see bystander.sh: no verdict"
        exit 125
    fi
    if [[ $made -ne $lab_planned || $lab_planned -eq 0 ]]; then
        echo "not ok plan: $made checks made of $lab_planned planned"
        exit 1
    fi
    [[ $lab_failed -eq 0 ]] || exit 1
    exit "$status"
}
trap lab_end EXIT

check()
{
    local limit_s=30 name log pid watchdog status started_s=$SECONDS
    if [[ $1 = --time ]]; then
        limit_s=$2
        shift 2
    fi
    name=$1
    shift
    log=$TERN_LAB_OUT/.lab/$TERN_LAB_HOST.check
    set -m
    (
        set +m -e
        "$@"
    ) </dev/null >"$log" 2>&1 &
    pid=$!
    (
        set +m
        sleep "$limit_s"
        kill -TERM -- "-$pid"
        sleep 2
        kill -KILL -- "-$pid"
    ) </dev/null >/dev/null 2>&1 &
    watchdog=$!
    set +m
    wait "$pid" 2>/dev/null
    status=$?
    { kill -KILL -- "-$watchdog" && wait "$watchdog"; } 2>/dev/null
    { echo "== $name: $status" && cat "$log"; } >>"$TERN_LAB_OUT/$TERN_LAB_HOST.checks"
    if [[ $status -eq 0 ]]; then
        lab_ok=$((lab_ok + 1))
        echo "ok $name ($((SECONDS - started_s)) s)"
        return 0
    fi
    lab_failed=$((lab_failed + 1))
    if [[ $status -ge 137 && $((SECONDS - started_s)) -ge $limit_s ]]; then
        echo "not ok $name: not done within $limit_s s"
    else
        echo "not ok $name: exit status $status"
    fi
    tail -n 40 "$log" | sed 's/^/# /'
    return 1
}

skip()
{
    lab_skipped=$((lab_skipped + 1))
    echo "ok $1 # skip $2"
}

lab_signal()
{
    local file=$TERN_LAB_OUT/.lab/signals/$1.$TERN_LAB_HOST
    printf '%s\n' "${2-}" >"$file.new" && mv "$file.new" "$file"
}

lab_wait()
{
    local file=$TERN_LAB_OUT/.lab/signals/$1.$lab_other end_s=$((SECONDS + ${2:-30}))
    until [[ -e $file ]]; do
        if [[ -e $TERN_LAB_OUT/.lab/$lab_other.status && ! -e $file ]]; then
            echo "host $lab_other ended without the signal $1" >&2
            return 1
        fi
        if [[ $SECONDS -ge $end_s ]]; then
            echo "no signal $1 from host $lab_other within ${2:-30} s" >&2
            return 1
        fi
        sleep 0.1
    done
    cat "$file"
}

lab_meet()
{
    lab_signal "$1" && lab_wait "$1" "${2:-30}" >/dev/null
}

# What was filtered away is shown by Criterion as skipped, too.
criterion()
{
    local log=$TERN_LAB_OUT/$1.log status=0
    CRITERION_JOBS=1 "build/tests/$1" --verbose "${@:2}" >"$log" 2>&1 || status=$?
    sed -i -E '/^\[(RUN |====.*Running)|SKIP.*Test is disabled/d' "$log"
    cat "$log"
    if grep -q 'SKIP' "$log" || ! grep -qE 'Tested: [1-9]' "$log"; then
        echo "a test skipped itself, or none ran"
        return 1
    fi
    return "$status"
}
