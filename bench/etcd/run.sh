#!/usr/bin/env bash
# Small durable writes on three nodes of etcd and on three nodes of Bezant, on this machine and this disk, one after
# the other. All nodes and the clients share the machine.
#
# etcd: three members on loopback with their default settings, so a write is on the disk of a majority before
# it is answered. A write is one transaction that compares the revision of a key and puts a value of 128
# bytes. Bezant: three nodes on loopback with their default settings, each write a payment, one per call.
# Both: the same number of clients, each with its own connection to the leader and one write in flight.
#
# usage: bench/etcd/run.sh
#   WRITES=100000     writes that are sent to each of them
#   CLIENTS=64        clients
#   KEYS=N            etcd's clients choose from N keys at random (default: each client has its own key)
#   SECONDS_MAX=180   seconds after which etcd gets no further write; a minute later either load is ended
#   BENCH_DIR=DIR     where both keep their data, no tmpfs (default: /var/tmp)
#   BEZANT=FILE       the program (default: built from here in release mode)
#   LOAD=FILE         the load program for etcd (default: built from here in release mode)
# exit codes: 0 both measured, 1 something failed or the counted writes differ from those sent, 3 etcd is not installed
set -euo pipefail
cd "$(dirname "$0")/../.."
writes=${WRITES:-100000}
clients=${CLIENTS:-64}
seconds_max=${SECONDS_MAX:-180}
bezant=${BEZANT:-}
load=${LOAD:-}

if ! etcd=$(command -v etcd); then
    echo 'etcd is not installed: apt-get install etcd-server (Debian), then run this again' >&2
    exit 3
fi
# Settings for other nodes on this machine must not reach these nodes.
unset "${!ETCD_@}" "${!BEZANT_@}"

if [ -z "$bezant" ]; then
    cargo build --release -p bezant-cli
    bezant=${CARGO_TARGET_DIR:-target}/release/bezant
fi
if [ -z "$load" ]; then
    cargo build --release -p bezant-bench-etcd
    load=${CARGO_TARGET_DIR:-target}/release/bezant-bench-etcd
fi

folder=$(mktemp -d -p "${BENCH_DIR:-/var/tmp}" bezant-etcd-XXXXXX)
# Ids of processes: the running nodes, and the load while it runs.
nodes=()
loading=
stop_nodes() {
    local pid
    # Their data is removed anyway, so they need no orderly stop.
    for pid in "${nodes[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    for pid in "${nodes[@]}"; do wait "$pid" 2>/dev/null || true; done
    nodes=()
}
finish() {
    trap '' HUP INT TERM
    if [ -n "$loading" ]; then
        # `timeout` passes the signal on to the load.
        kill -TERM "$loading" 2>/dev/null || true
        wait "$loading" 2>/dev/null || true
    fi
    stop_nodes
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "$1" >&2
    exit 1
}
if [ "$(stat -f -c %T "$folder")" = tmpfs ]; then
    fail "$folder is memory, not a disk: name a folder on a disk with BENCH_DIR"
fi

# Sets `ports` to that many ports without a listener.
find_ports() {
    mapfile -t ports < <("$load" ports "$1")
    [ "${#ports[@]}" = "$1" ] || fail 'no free ports'
}
# Starts a node in the background; its output goes to files with its number.
start_node() {
    local number=$1
    shift
    "$@" >"$folder/$number.out" 2>"$folder/$number.err" </dev/null &
    nodes+=($!)
}
# Fails unless all nodes run.
all_run() {
    local pid
    for pid in "${nodes[@]}"; do
        kill -0 "$pid" 2>/dev/null || fail "a node ended by itself: $(tail -n 3 "$folder"/[0-2].err)"
    done
}
# Sets `spent` to the processor time of all ended children, in seconds.
look_at_times() {
    # Not in a subshell: it has other children.
    times >"$folder/times"
    spent=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, part, /[ms]/); sum += part[1] * 60 + part[2] } print sum }' \
        "$folder/times")
}
# Runs a load to its end, with a time limit and in the background, so that this script handles signals meanwhile.
# Sets `processor` to the load's processor time in seconds; no node ends meanwhile, so all of it is the load's.
measure() {
    local before status=0
    look_at_times
    before=$spent
    timeout -k 5 "$((seconds_max + 60))" "$@" >"$folder/load.json" 2>"$folder/load.err" </dev/null &
    loading=$!
    wait "$loading" || status=$?
    loading=
    look_at_times
    processor=$(awk -v before="$before" -v after="$spent" 'BEGIN { print after - before }')
    return "$status"
}
# A figure of the load's JSON. The first one of each name is in the part about writes.
figure() { awk -v name="\"$1\":" '$1 == name { gsub(/[",]/, "", $2); print $2; exit }' "$folder/load.json"; }
milliseconds() { awk -v us="$(figure "$1")" 'BEGIN { printf "%.3f", us / 1000 }'; }
# A line of the table. Arguments: the text of the first column, the number of writes, and the name of the rate in the JSON.
row() {
    printf '%-32s %10s %10s %10s %10s %16s\n' "$1" "$(figure "$3")" \
        "$(milliseconds p50)" "$(milliseconds p99)" "$(milliseconds p100)" \
        "$(awk -v seconds="$processor" -v writes="$2" 'BEGIN { printf "%.0f", seconds * 1e6 / writes }')"
}

find_ports 6
list='' urls=''
for n in 0 1 2; do
    list+=${list:+,}node$n=http://127.0.0.1:${ports[n]}
    urls+=${urls:+,}http://127.0.0.1:${ports[n + 3]}
done
for n in 0 1 2; do
    peer=http://127.0.0.1:${ports[n]} client=http://127.0.0.1:${ports[n + 3]}
    start_node "$n" "$etcd" --name "node$n" --data-dir "$folder/etcd-$n" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
        --listen-client-urls "$client" --advertise-client-urls "$client" \
        --initial-cluster "$list" --initial-cluster-state new
done
echo "etcd: three nodes, $clients clients, $writes writes"
# The load itself waits until all three answer and one of them leads.
measure "$load" load --server "$urls" --writes "$writes" --clients "$clients" ${KEYS:+--keys "$KEYS"} \
    --seconds-max "$seconds_max" --json || { all_run; fail "etcd was not measured: $(tail -n 3 "$folder/load.err")"; }
all_run
done_writes=$(figure writes)
[ "$done_writes" = "$writes" ] || echo "etcd did $done_writes of $writes writes in $seconds_max s" >&2
etcd_row=$(row "etcd $(figure etcd_version), compare-and-swap" "$done_writes" writes_per_second)
etcd_note="etcd: $done_writes writes to $(figure keys) keys, $(figure refused_comparisons) comparisons refused,"
etcd_note+=" $(figure calls_without_answer) calls without an answer"
stop_nodes
rm -rf "$folder"/etcd-*

find_ports 6
list='' urls=''
for n in 0 1 2; do
    list+=${list:+,}$((n + 1))=127.0.0.1:${ports[n]}
    urls+=${urls:+,}http://127.0.0.1:${ports[n + 3]}
done
od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$folder/token"
for n in 0 1 2; do
    start_node "$n" "$bezant" start --node "$((n + 1))" --nodes "$list" --token-file "$folder/token" \
        --listen "127.0.0.1:${ports[n + 3]}" --data-dir "$folder/bezant-$n"
done
# Waits until all three answer and one leads that is connected to all; sets `leader` to its address.
find_leader() {
    local until=$((SECONDS + 60))
    leader=
    while [ "$SECONDS" -lt "$until" ]; do
        all_run
        if "$bezant" cluster status --server "$urls" -o json >"$folder/status" 2>"$folder/status.err"; then
            leader=$(sed -n '/"connected":false/d; s/^{"server":"\([^"]*\)".*"role":"leader".*/\1/p' "$folder/status")
            [ -z "$leader" ] || return 0
        fi
        sleep 0.1
    done
    fail "no node of Bezant leads: $(cat "$folder/status.err")"
}
echo "Bezant: three nodes, $clients clients, $writes payments"
tries=0 is_measured=
while [ -z "$is_measured" ]; do
    find_leader
    tries=$((tries + 1))
    if measure "$bezant" bench --server "$leader" --batch 1 --clients "$clients" --transfers "$writes" --queries 0 \
        --json; then
        is_measured=yes
    elif [ "$tries" -lt 5 ] && grep -q 'status 14' "$folder/load.err"; then
        # The benchmark gives up when the leader changes.
        echo "once more: $(tail -n 1 "$folder/load.err")" >&2
    else
        fail "Bezant was not measured: $(tail -n 3 "$folder/load.err")"
    fi
done
all_run

printf '\n%-32s %10s %10s %10s %10s %16s\n' 'three nodes, durable' 'a second' 'p50 ms' 'p99 ms' 'p100 ms' "clients' CPU us"
echo "$etcd_row"
row "Bezant $("$bezant" --version | cut -d' ' -f2), one payment per call" "$writes" transfers_per_second
printf '\n%s\nBezant: %s\n' "$etcd_note" "$writes payments between 10,000 accounts, at the attempt number $tries"
