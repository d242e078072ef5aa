#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lab: --hosts 1 --memory 512M --timeout 90
# A suite that must be reported as failed: tests/run looks for each of these lines.
. tests/lab/lib.sh

fails_halfway()
{
    echo "before"
    false
    echo "after"
}

plan 5
check "passes" true
check "fails" fails_halfway
check --time 2 "hangs" sleep 60
skip "skips" "a canary skips"
