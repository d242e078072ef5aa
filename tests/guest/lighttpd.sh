#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Unpack Debian's lighttpd, once, into a cache folder, for the Linux test guest; nothing is installed, no service starts.
# The package itself is kept in /var/cache/tern, as the kernels are (tests/lab/kernel.sh).
# Usage: lighttpd.sh CACHE; prints the program, which runs on this machine's libraries.
set -euo pipefail
export LC_ALL=C

die()
{
    echo "guest: $*" >&2
    exit 1
}

# Prints the package as a file: the one that was kept, else what apt has.
fetch()
{
    local kept=/var/cache/tern attempt file
    for attempt in 1 2; do
        for file in "$kept"/lighttpd_*.deb; do
            [[ ! -s $file ]] || { echo "$file" && return; }
        done
        if (cd "$kept/partial" && timeout 300 apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 \
            download lighttpd) >&2; then
            mv "$kept"/partial/lighttpd_*.deb "$kept/"
        elif [[ $attempt -eq 1 ]]; then
            timeout 300 apt-get -qq -o Acquire::Retries=3 update >&2 || true
        fi
    done
    return 1
}

[[ $# -eq 1 ]] || die "usage: lighttpd.sh CACHE"
mkdir -p "$1" /var/cache/tern/partial
cache=$(cd "$1" && pwd)
program=$cache/lighttpd/usr/sbin/lighttpd
exec 9>/var/cache/tern/lock
flock -w 900 9 || die "another run has held /var/cache/tern/lock for 15 minutes"
if [[ ! -x $program ]]; then
    package=$(fetch) || die "no package lighttpd: is the network up?"
    rm -rf "$cache"/lighttpd{,.making}
    dpkg-deb -x "$package" "$cache/lighttpd.making"
    mv "$cache/lighttpd.making" "$cache/lighttpd"
fi
if ! ldd "$program" | awk '/not found/ {bad = 1} END {exit bad}'; then
    die "lighttpd lacks a library here: apt-get install libpcre2-8-0 libnettle8 libxxhash0 libcrypt1"
fi
echo "$program"
