#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Unpack a Debian kernel and make a small initramfs for the lab, once, into a cache folder; nothing is installed.
# The package itself is kept in /var/cache/tern, so that another tree, or a day without a network, does not need it again.
# Usage: kernel.sh SERIES CACHE   (SERIES is 6.12 or 6.1); prints the folder, which then holds
#   vmlinuz  initramfs  modules/lib/modules/VERSION (with its modules.dep)  version
# Invariant: the folder either has all of that or does not exist; two callers at once do it one after the other.
set -euo pipefail
export LC_ALL=C

die()
{
    echo "lab: $*" >&2
    exit 1
}

newest_package()
{
    local pattern
    case $1 in
    6.12) pattern='^linux-image-6\.12\.[0-9]+\+deb12-amd64$' ;;
    6.1) pattern='^linux-image-6\.1\.[0-9]+-[0-9]+-amd64$' ;;
    *) die "no kernel series '$1': take 6.12 or 6.1" ;;
    esac
    apt-cache pkgnames "linux-image-$1." | grep -E "$pattern" | sort -V | tail -n 1
}

# Prints the series' package as a file: of the newest version that apt knows, else of the newest that was ever fetched.
fetch_package()
{
    local series=$1 kept=/var/cache/tern package file attempt
    mkdir -p "$kept/partial"
    for attempt in 1 2; do
        package=$(newest_package "$series") || true
        for file in "$kept/${package:-none}"_*.deb; do
            [[ -s $file ]] && echo "$file" && return
        done
        if [[ -n $package ]] && (cd "$kept/partial" && timeout 600 apt-get -qq -o APT::Sandbox::User=root \
            -o Acquire::Retries=3 download "$package") >&2; then
            rm -f "$kept/linux-image-$series".*.deb
            mv "$kept/partial/${package}"_*.deb "$kept/"
            echo "$kept/${package}"_*.deb
            return
        elif [[ $attempt -eq 1 ]]; then
            timeout 300 apt-get -qq -o Acquire::Retries=3 update >&2 || true
        fi
    done
    file=$(printf '%s\n' "$kept/linux-image-$series".*.deb | sort -V | tail -n 1)
    [[ -s $file ]] || return 1
    echo "lab: no newer kernel can be had now: $(basename "$file") was kept" >&2
    echo "$file"
}

# The modules that the initramfs must load before the machine's own file tree is there.
boot_modules=(virtio_pci 9p 9pnet_virtio overlay)

make_initramfs()
{
    local folder=$1 version=$2 here=$3 tree list module name
    tree=$folder/tree
    mkdir -p "$tree"/{bin,dev,proc,sys,modules,host,rw,newroot}
    cp "$here/init" "$tree/init"
    chmod 755 "$tree/init"
    cp /bin/busybox "$tree/bin/busybox"
    list=$tree/modules/order
    for module in "${boot_modules[@]}"; do
        modprobe -d "$folder/modules" -S "$version" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$folder/paths"
    while read -r module; do
        name=${module##*/}
        name=${name%.xz}
        case $module in
        *.xz) xz -dc "$module" >"$tree/modules/$name" ;;
        *) cp "$module" "$tree/modules/$name" ;;
        esac
        echo "$name" >>"$list"
    done <"$folder/paths"
    grep -q '^9p\.ko$' "$list" || die "kernel $version has no 9p module"
    (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/initramfs"
    rm -rf "$tree" "$folder/paths"
}

build()
{
    local series=$1 cache=$2 here=$3 package version work
    for tool in dpkg-deb apt-get modprobe depmod cpio xz /bin/busybox; do
        command -v "$tool" >/dev/null || die "$tool is missing: apt-get install dpkg apt kmod cpio xz-utils busybox-static"
    done
    if ldd /bin/busybox >/dev/null 2>&1; then
        die "/bin/busybox is not static: apt-get install busybox-static"
    fi
    package=$(fetch_package "$series") ||
        die "no kernel package of series $series: is bookworm-security among apt's sources, and the network up?"
    work=$cache/$series.making
    rm -rf "$work"
    mkdir -p "$work"
    echo "lab: unpacking $(basename "$package") into $cache (once)" >&2
    dpkg-deb -x "$package" "$work/modules"
    version=$(basename "$work"/modules/lib/modules/*)
    mv "$work/modules/boot/vmlinuz-$version" "$work/vmlinuz"
    rm -rf "$work"/modules/{boot,usr} "$work/modules/lib/modules/$version"/kernel/{sound,drivers/{gpu,media,staging}}
    depmod -b "$work/modules" "$version"
    make_initramfs "$work" "$version" "$here"
    echo "$version" >"$work/version"
    rm -rf "${cache:?}/$series"
    mv "$work" "$cache/$series"
}

main()
{
    local series=$1 cache=$2 here
    here=$(cd "$(dirname "$0")" && pwd)
    mkdir -p "$cache"
    cache=$(cd "$cache" && pwd)
    mkdir -p /var/cache/tern
    exec 9>/var/cache/tern/lock
    flock -w 900 9 || die "another run has held /var/cache/tern/lock for 15 minutes"
    if [[ ! -s $cache/$series/version || $here/init -nt $cache/$series/version ||
        $here/kernel.sh -nt $cache/$series/version ]]; then
        build "$series" "$cache" "$here"
    fi
    echo "$cache/$series"
}

[[ $# -eq 2 ]] || die "usage: kernel.sh SERIES CACHE"
main "$@"
