#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tern-perf web in small: a Linux guest of a QEMU serves ten clients while tern moves it from one network namespace to
# another; every body is right, every connection goes on, every phase is in the report, and there is a picture.
# Usage: web.sh BUILD_FOLDER
set -uo pipefail
build=$(realpath "$1")
out=$(mktemp -d) failed=0
trap 'rm -rf "$out"' EXIT

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

# member NAME: that number of the run
member()
{
    grep '"event":"run"' "$out/lines" | sed -nE "s/.*\"$1\":([0-9.]+).*/\1/p"
}

is_positive()
{
    [[ $(member "$1") =~ ^[0-9.]*[1-9][0-9.]*$ ]]
}

# rate_of PHASE: its mean
rate_of()
{
    grep '"event":"run"' "$out/lines" | sed -nE "s/.*\"phase\":\"$1\",[^}]*\"mean_bps\":([0-9]+).*/\1/p"
}

namespaces()
{
    ip netns list | grep -c '^tern-web-'
}

experiment()
{
    timeout 150 "$build/bin/tern-perf" web --connections 10 --duration 5s --memory 256M --json --plot "$out/web.svg" \
        >"$out/lines" 2>"$out/said" || { cat "$out/said" && return 1; }
}

before=$(namespaces)
check "a guest serves, migrates, and serves on" experiment
check "it ends well" grep -q '"event":"done".*"ok":true' "$out/lines"
check "bodies came" is_positive bodies
check "all of them right" test "$(member damaged)" = 0
check "all connections were there" test "$(member open_connections)" = 10
check "and went on" test "$(member kept_connections)" = 10
check "it had a downtime" is_positive downtime_ms
for phase in before 'first round' after; do
    check "there is throughput $phase" test "$(rate_of "$phase")" -gt 0
done
check "there is a picture" grep -q '</svg>' "$out/web.svg"
check "no network is left" test "$(namespaces)" -le "$before"
[[ $failed = 0 ]] || cut -c1-2000 "$out/lines"
exit $failed
