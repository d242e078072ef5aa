# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the scripts of figures share: arithmetic, and a table of figures beside their bars. Sourced.
rows=() missed=0
first=() # what a measured command begins with

fail()
{
    echo "figures: $1" >&2
    exit 3
}

# median and worst of one number a line; worst is the least of what should be high
median()
{
    sort -g | awk 'NF {v[++n]=$1} END {if (n) print n%2 ? v[(n+1)/2] : (v[n/2]+v[n/2+1])/2}'
}

divide()
{
    awk -v a="$1" -v b="$2" 'BEGIN {if (b + 0 == 0) exit 1; printf "%.4f\n", a / b}'
}

# member NAME EVENT: that number of every such event on stdin
member()
{
    sed -nE "/\"event\":\"$2\"/s/.*\"$1\":([0-9.]+).*/\1/p"
}

# row WHAT VALUE UNIT ge|le BAR [REMARK]
row()
{
    local verdict=met
    [[ $2 =~ ^[0-9.]+([eE][-+]?[0-9]+)?$ ]] || fail "no figure for '$1'"
    if ! awk -v v="$2" -v b="$5" -v how="$4" 'BEGIN {exit !(how == "ge" ? v >= b : v <= b)}'; then
        verdict=MISSED
        missed=1
    fi
    rows+=("$(printf '%-50s %7.2f %-4s %s %-5s %-7s %s' "$1" "$2" "$3" "$([[ $4 = ge ]] && echo '>=' || echo '<=')" \
        "$5" "$verdict" "${6-}")")
    echo "${rows[-1]}" >&2
}

# row_plain WHAT VALUE UNIT [REMARK]: one that has no bar
row_plain()
{
    [[ $2 =~ ^[0-9.]+([eE][-+]?[0-9]+)?$ ]] || fail "no figure for '$1'"
    rows+=("$(printf '%-50s %7.2f %-4s %-16s %s' "$1" "$2" "$3" '' "${4-}")")
    echo "${rows[-1]}" >&2
}

# rows WHAT UNIT BAR: the median and the worst (largest) of the numbers on stdin
rows_low()
{
    local values
    values=$(cat)
    row "$1, median" "$(median <<<"$values")" "$2" le "$3"
    row "$1, worst" "$(sort -g <<<"$values" | tail -n 1)" "$2" le "$3"
}

# take_priority: measured commands run before other work on this machine, where that is allowed.
take_priority()
{
    if chrt -r 1 true 2>/dev/null; then
        first=(chrt -r 1)
    else
        echo "figures: real-time priority is not allowed here; other work on the machine shows in the figures" >&2
    fi
}

# run_iperf STREAMS: bits a second over loopback. In a subshell.
run_iperf()
{
    local text port=5299
    server=''
    trap '[[ -z $server ]] || kill "$server" 2>/dev/null' EXIT
    "${first[@]}" iperf3 -s -1 -B 127.0.0.1 -p "$port" >/dev/null 2>&1 &
    server=$!
    until [[ -n $(ss -Hltn "sport = :$port") ]]; do
        kill -0 "$server" 2>/dev/null || fail "iperf3 cannot listen on port $port"
        sleep 0.1
    done
    text=$("${first[@]}" iperf3 -c 127.0.0.1 -p "$port" -P "$1" -t 3 -f k) || fail "iperf3: $text"
    wait "$server"
    server=
    awk '/receiver$/ {for (i = 2; i <= NF; i++) if ($i == "Kbits/sec") rate = $(i-1) * 1000} END {print rate}' \
        <<<"$text"
}

# conclude: print the table, end with its verdict.
conclude()
{
    printf '\n%-50s %7s %-4s %-8s\n' figure measured '' bar
    printf '%s\n' "${rows[@]}"
    exit "$missed"
}
