#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 5G --append hugepagesz=1G --append hugepages=2 --timeout 600
# lab-kernels: 6.12 6.1
# The migration and failure tests of tests/integration again, over verbs: a soft-RoCE device, IPv4 and IPv6, huge pages
# of both sizes. On 6.1 every migration takes the synchronous userfaultfd tracker.
. tests/lab/lib.sh

# over_verbs ADDRESS PROGRAM [ARGUMENTS]: no test may skip itself here, and at least one must have run.
over_verbs()
{
    local host=$1 program=$2 log=$TERN_LAB_OUT/$2.log status=0
    shift 2
    TERN_TEST_TRANSPORT=verbs TERN_TEST_HOST=$host TERN_TEST_HOST6=$TERN_LAB_SELF6 CRITERION_JOBS=1 \
        "build/tests/$program" --verbose "$@" >"$log" 2>&1 || status=$?
    grep -vE '^\[(RUN |PASS)|SKIP.*Test is disabled' "$log"
    if grep 'SKIP' "$log" | grep -v 'Test is disabled'; then
        echo "a test skipped itself"
        return 1
    fi
    grep -qE 'Tested: [1-9]' "$log"
    return "$status"
}

plan 4
check --time 240 "migrations over verbs and IPv4" over_verbs "$TERN_LAB_SELF" test_migration
check --time 90 "migrations over verbs and IPv6" over_verbs "$TERN_LAB_SELF6" test_migration \
    --filter 'migration/@(busy_guest_moves|every_number_of_lanes|there_and_back)'
check --time 90 "failures over verbs and IPv4" over_verbs "$TERN_LAB_SELF" test_failures
check --time 90 "failures over verbs and IPv6" over_verbs "$TERN_LAB_SELF6" test_failures
