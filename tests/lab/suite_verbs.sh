#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 5G --append hugepagesz=1G --append hugepages=2 --timeout 900
# lab-kernels: 6.12 6.1
# The migration and failure tests of tests/integration again, over verbs: a soft-RoCE device, IPv4 and IPv6, huge pages
# of both sizes. On 6.1 every migration takes the synchronous userfaultfd tracker.
. tests/lab/lib.sh

over_verbs()
{
    TERN_TEST_TRANSPORT=verbs TERN_TEST_HOST=$1 TERN_TEST_HOST6=$TERN_LAB_SELF6 criterion "${@:2}"
}

plan 4
check --time 400 "migrations over verbs and IPv4" over_verbs "$TERN_LAB_SELF" test_migration
check --time 120 "migrations over verbs and IPv6" over_verbs "$TERN_LAB_SELF6" test_migration \
    --filter 'migration/@(busy_guest_moves|every_number_of_lanes|there_and_back)'
check --time 120 "failures over verbs and IPv4" over_verbs "$TERN_LAB_SELF" test_failures
check --time 120 "failures over verbs and IPv6" over_verbs "$TERN_LAB_SELF6" test_failures
