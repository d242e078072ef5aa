# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the web experiment does here (perf/web) and in the lab (perf/web_lab.sh). Sourced after tests/guest/lib.sh and
# network.sh. Set before use: memory, connections, before_ms, bandwidth_bps (0: no limit), limit_ms, runs (a folder).
server=lighttpd
[[ ! ${TERN_BIN-} ]] || export PATH=$TERN_BIN:$PATH

# Files that nobody asks for fill the guest's memory. It rewrites a little all the time, as the server itself does: later
# rounds have something to do.
guest_words()
{
    local mib=${memory%M}
    append="guest.ip=$guest_ip/24 guest.file=512K guest.store=$((mib / 4)) guest.data=16 guest.rewrite=1024 guest.every=200"
}

sleep_ms()
{
    sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"
}

# boot_web NAME ARGUMENTS...: with the guest's network, and a monitor whose events are kept in $work/NAME.said.
boot_web()
{
    local name=$1
    start_qemu "$@" "${card[@]}" -qmp "unix:$work/$name.listener,server=on,wait=off" || return 1
    echo '{"execute":"qmp_capabilities"}' >"$work/hello"
    : >"$work/$name.said"
    start "$work/$name.socat" socat "UNIX-CONNECT:$work/$name.listener" "SYSTEM:cat $work/hello; cat >>$work/$name.said"
    wait_until 10 grep -q '"return"' "$work/$name.said"
}

# ---- the clients ----

# start_clients NAME: they find the migration's lines in $runs/NAME.events when they end.
start_clients()
{
    : >"$runs/$1.events"
    start "$runs/$1.json" tern-perf web --url "http://$guest_ip/file" --connections "$connections" --duration 400s \
        --events "$runs/$1.events" --name "$1" --json
    clients=$started
}

# end_clients NAME: 0 if they have a report, though it may be of something bad.
end_clients()
{
    kill -TERM "$clients"
    wait "$clients" || true
    grep -q '"phases"' "$runs/$1.json" || { cat "$runs/$1.json" "$runs/$1.events" >&2 && return 1; }
}

# ---- who migrates ----

# by_tern NAME ADDRESS OPTIONS...
by_tern()
{
    local name=$1 address=$2 rate=()
    shift 2
    [[ $bandwidth_bps = 0 ]] || rate=(--bandwidth "${bandwidth_bps}b/s")
    "${enter[@]}" tern migrate --qmp "$work/a.qmp" --to "$address:7471" --downtime-limit "${limit_ms}ms" "${rate[@]}" \
        --json "$@" >"$runs/$name.events" || { cat "$runs/$name.events" >&2 && return 1; }
}

# peer_settings NAME CAPABILITIES...: of QEMU's own migration, on either side.
peer_settings()
{
    local name=$1 list='' capability rate=$((bandwidth_bps / 8))
    shift
    for capability in events "$@"; do
        list+="${list:+,}{\"capability\":\"$capability\",\"state\":true}"
    done
    [[ $rate -gt 0 ]] || rate=1099511627776
    qmp "$name" migrate-set-capabilities "{\"capabilities\":[$list]}" >/dev/null
    [[ $* != *multifd* ]] || qmp "$name" migrate-set-parameters '{"multifd-channels":4}' >/dev/null
    qmp "$name" migrate-set-parameters "{\"downtime-limit\":$limit_ms,\"max-bandwidth\":$rate}" >/dev/null
}

# peer_listens URI CAPABILITIES...: b waits for QEMU's own migration.
peer_listens()
{
    local uri=$1
    shift
    peer_settings b "$@"
    qmp b migrate-incoming "{\"uri\":\"$uri\"}" >"$work/incoming"
    ! grep '"error"' "$work/incoming" >&2
}

# Its figures come a little after its end.
peer_has_ended()
{
    qmp a query-migrate >"$work/progress"
    grep -qE '"status": "(failed|cancelled)"' "$work/progress" ||
        { grep -q '"status": "completed"' "$work/progress" && grep -q '"total-time": [1-9]' "$work/progress"; }
}

# by_peer NAME URI CAPABILITIES...: QEMU's own migration.
by_peer()
{
    local name=$1 uri=$2
    shift 2
    peer_settings a "$@"
    qmp a migrate "{\"uri\":\"$uri\"}" >/dev/null
    wait_until 120 peer_has_ended || { echo "QEMU's own migration does not end" >&2 && return 1; }
    cat "$work/a.said" "$work/progress" >"$runs/$name.events"
    [[ ! -e $work/b.said ]] || grep '"RESUME"' "$work/b.said" >>"$runs/$name.events"
    grep -q '"status": "completed"' "$work/progress" || { tail -n 1 "$work/progress" >&2 && return 1; }
}

# show_runs NAME...: those that are there, side by side.
show_runs()
{
    local name files=''
    for name in "$@"; do
        [[ ! -s $runs/$name.json ]] || files+=${files:+,}$runs/$name.json
    done
    tern-perf web --show "$files" "${output[@]}"
}
