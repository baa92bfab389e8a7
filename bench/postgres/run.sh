#!/usr/bin/env bash
# Single payments on PostgreSQL and on Bezant, on this machine and this disk, one after the other.
#
# PostgreSQL: a new cluster with its default settings, so every commit is on disk before it is answered. 16
# clients of pgbench use prepared statements over a socket in a temporary folder, with one function call per
# payment. Bezant: its own benchmark, 64 clients with one payment per call.
#
# usage: bench/postgres/run.sh
#   SECONDS_EACH=20   how long pgbench runs
#   TRANSFERS=500000  payments that are sent to Bezant
#   BENCH_DIR=DIR     where both keep their data (default: /var/tmp)
#   BEZANT=FILE       the program (default: built from here in release mode)
# exit codes: 0 both measured, 1 something failed or the books do not balance, 3 PostgreSQL is not installed
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-20}
transfers=${TRANSFERS:-500000}

bin=/usr/lib/postgresql/15/bin
if [ ! -x "$bin/initdb" ]; then
    bin=$(pg_config --bindir 2>/dev/null || true)
fi
if [ -z "$bin" ] || [ ! -x "$bin/initdb" ] || [ ! -x "$bin/pgbench" ]; then
    echo 'PostgreSQL is not installed: apt-get install postgresql-15 (Debian), then run this again' >&2
    exit 3
fi

if [ -z "${BEZANT:-}" ]; then
    cargo build --release -p bezant-cli
    BEZANT=target/release/bezant
fi

folder=$(mktemp -d -p "${BENCH_DIR:-/var/tmp}" bezant-postgres-XXXXXX)
# PostgreSQL refuses to run as root, so root runs it as the user postgres.
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as() { runuser -u postgres -- "$@"; }
fi
running=
finish() {
    if [ -n "$running" ]; then
        as "$bin/pg_ctl" -D "$folder/data" -m fast -w stop >/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT

cp bench/postgres/*.sql "$folder/"
cd_folder() { (cd "$folder" && as "$@"); }
cd_folder "$bin/initdb" -D "$folder/data" -A trust -U bench -E UTF8 --locale=C >"$folder/initdb.out"
cd_folder "$bin/pg_ctl" -D "$folder/data" -l "$folder/postgres.log" -w \
    -o "-c listen_addresses='' -c unix_socket_directories=$folder" start >/dev/null
running=yes
sql() { cd_folder "$bin/psql" -h "$folder" -U bench -d postgres -v ON_ERROR_STOP=1 -qAt "$@"; }
sql -f "$folder/schema.sql"
sql -c 'vacuum analyze accounts' -c checkpoint
version=$(sql -c 'show server_version')

echo "PostgreSQL $version: 16 clients, $seconds s"
cd_folder "$bin/pgbench" -h "$folder" -U bench -n -M prepared -c 16 -j 2 -T "$seconds" \
    -l --log-prefix="$folder/latency" -f "$folder/transfer.sql" postgres >"$folder/pgbench.out"
tps=$(awk '/^tps = / { printf "%d", $3 }' "$folder/pgbench.out")
failed=$(awk -F'[: (]+' '/^number of failed transactions/ { print $5 }' "$folder/pgbench.out")
IFS='|' read -r count moved debits credits < <(sql -f "$folder/check.sql")
if [ "${failed:-0}" != 0 ] || [ "$moved" != "$debits" ] || [ "$moved" != "$credits" ] || [ "$count" = 0 ]; then
    echo "PostgreSQL's books do not balance: $count transfers of $moved, debits $debits, credits $credits, failed $failed" >&2
    exit 1
fi
# The third column of pgbench's log is the time of a transaction in microseconds.
cat "$folder"/latency.* | awk '{ print $3 }' | sort -n >"$folder/sorted"
percentile() {
    awk -v n="$(wc -l <"$folder/sorted")" -v p="$1" \
        'NR == int((n * p + 99) / 100) { printf "%.3f", $1 / 1000; exit }' "$folder/sorted"
}
p50=$(percentile 50) p99=$(percentile 99) p100=$(percentile 100)
as "$bin/pg_ctl" -D "$folder/data" -m fast -w stop >/dev/null
running=

echo "Bezant: 64 clients, $transfers transfers"
mkdir "$folder/bezant"
"$BEZANT" bench --batch 1 --clients 64 --transfers "$transfers" --queries 0 --data-dir "$folder/bezant" --json \
    >"$folder/bezant.json"
# The first one of each name is in the part about requests.
figure() { awk -v name="\"$1\":" '$1 == name { sub(/,$/, "", $2); print $2; exit }' "$folder/bezant.json"; }
milliseconds() { awk -v us="$(figure "$1")" 'BEGIN { printf "%.3f", us / 1000 }'; }

printf '\n%-28s %14s %10s %10s %10s\n' 'single payments, durable' 'a second' 'p50 ms' 'p99 ms' 'p100 ms'
printf '%-28s %14s %10s %10s %10s\n' "PostgreSQL $(echo "$version" | cut -d' ' -f1), 16 clients" "$tps" "$p50" "$p99" "$p100"
printf '%-28s %14s %10s %10s %10s\n' 'Bezant, 64 clients' "$(figure transfers_per_second)" \
    "$(milliseconds p50)" "$(milliseconds p99)" "$(milliseconds p100)"
