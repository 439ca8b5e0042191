#!/usr/bin/env bash
# Measures the service beside the bare parts that it is made of, and prints a table (Markdown) and the targets:
#   benches/load.sh                                                                    everything: about half an hour
#   STORES=small ONLY=sign_in,register CONNECTIONS=64 ROUNDS=1 benches/load.sh      a quick look
# PostgreSQL and Redis are found or installed, started on free ports in a temporary folder, and stopped at the end.
# Needs Linux: what each process costs is read from /proc.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROUNDS=${ROUNDS:-3}                       # the table has the median
SECONDS_PER_PHASE=${SECONDS_PER_PHASE:-3} # half a second of warm-up comes before
STORES=${STORES:-small,large,sqlite}      # PostgreSQL and Redis with few and with many users; SQLite with few
USERS_SMALL=${USERS_SMALL:-20000}
USERS_LARGE=${USERS_LARGE:-5000000}       # 0 is the same as no large in STORES
CONNECTIONS=${CONNECTIONS:-1,64,256}
ONLY=${ONLY:-}                            # of the names in OPERATIONS and OTHERS, with commas between
LOG_LEVEL=${LOG_LEVEL:-info}              # of the service, whose log goes to a file
PHONEPASS=${PHONEPASS:-}                  # the service; built if it is not given
LOAD=${LOAD:-}                            # the folder of the programs load and empty; built if it is not given
RESULTS=${RESULTS:-}                      # a file that gets all results, a line of JSON each

# Requests; those of a large population are the ones whose speed depends on it.
OPERATIONS='register sign_in refresh me check password picture send'
OPERATIONS_LARGE='register sign_in refresh me'
# offered: sign_in at 70 % of what its closed loop with 64 connections reached. mixed: password beside sign_in.
OTHERS='offered mixed start idle'

for name in PHONEPASS LOAD RESULTS; do
  case ${!name} in '' | /*) ;; *) printf -v "$name" '%s' "$caller/${!name}" ;; esac
done

source tests/lib.sh

# --- Servers -----------------------------------------------------------------------------------------------------

psql() { "$pg_bin/psql" -h 127.0.0.1 -p "$pg_port" -U postgres -X -q -v ON_ERROR_STOP=1 "$@"; }

# Codes live for as long as a phase may take, and no limit is in the way; all else is as by default.
service_settings() {
  printf '%s\n' "HTTP_ADDR=127.0.0.1:$http_port" "DATA_DIR=$tmp/data" "LOG_LEVEL=$LOG_LEVEL" TRUSTED_PROXIES=127.0.0.1/32 \
    SMS_PROVIDER=webhook "SMS_WEBHOOK_URL=http://127.0.0.1:$webhook_port/" SMS_CODE_TTL=3600 IMAGE_CODE=never \
    SMS_RESEND_SECONDS=0 SMS_PER_MOBILE_PER_DAY=0 SMS_PER_IP_PER_HOUR=0 SMS_TOTAL_PER_HOUR=0 \
    SMS_ASKS_PER_IP_PER_HOUR=0 GUESSES_PER_IP_PER_HOUR=0 CONNECTIONS_PER_IP=0 SHUTDOWN_DELAY=0
  case $1 in
    sqlite) ;;
    *) printf '%s\n' "DATABASE_URL=postgres://postgres@127.0.0.1:$pg_port/$1" "REDIS_URL=redis://127.0.0.1:$redis_port" ;;
  esac
}

# start STORE: the service, on SQLite or on the database of this name.
start() {
  local settings
  mapfile -t settings < <(service_settings "$1")
  if [ "$1" != sqlite ]; then printf 'FLUSHALL\r\nQUIT\r\n' >"/dev/tcp/127.0.0.1/$redis_port"; fi
  start_service "$PHONEPASS" "${settings[@]}"
}

# --- Measuring ---------------------------------------------------------------------------------------------------

wanted() {
  case ",${ONLY:-$1}," in *",$1,"*) return 0 ;; *) return 1 ;; esac
}

# Adds what a command prints to the results, in words for those who wait.
record() {
  run "$@" >"$tmp/line"
  cat "$tmp/line" >>"$results"
  if [ -n "$RESULTS" ]; then cat "$tmp/line" >>"$RESULTS"; fi
  cat "$tmp/line" >&2
}

# offer STORE USERS OFFER...: offers load to the server that runs.
offer() {
  local store=$1 users=$2
  shift 2
  record "$LOAD/load" run "$@" --service "127.0.0.1:$http_port" --webhook "127.0.0.1:$webhook_port" \
    --seconds "$SECONDS_PER_PHASE" --users "$users" --label "store=$store" --label "round=$round" \
    --server-pid "$service_pid" --postgres-pid "$pg_pid" --redis-pid "$redis_pid"
}

# phase STORE USERS OFFER...: offers load to a service that was just started.
phase() {
  start "$1"
  if [ "$1" != sqlite ]; then psql -c CHECKPOINT postgres; fi
  offer "$@"
  stop_service
}

# Each run of pgbench has ids of its own, younger than those before.
next_run() {
  runs=$((runs + 1))
  pg_run=$(printf '019a%04x-0000-7000-8000-' "$runs")
}

# pgbench_for STORE OPERATION USERS CLIENTS SECONDS [OPTION...]: prints what pgbench says.
pgbench_for() {
  local database=$1_pgbench operation=$2 users=$3 clients=$4 seconds=$5 n=0
  shift 5
  next_run
  if [ "$operation" = refresh ]; then
    n=-1
    psql "$database" -v run="$pg_run" >/dev/null <<'SQL'
INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
SELECT (:'run' || lpad(to_hex(i), 12, '0'))::uuid, user_id, amr, 0, now(), now() + interval '14 days', ip, user_agent
FROM (SELECT *, row_number() OVER () - 1 AS i FROM sessions LIMIT 1024) AS chosen;
SQL
  fi
  run "$pg_bin/pgbench" -h 127.0.0.1 -p "$pg_port" -U postgres -n -M prepared -f "benches/load/$operation.sql" \
    -c "$clients" -j "$((clients < 2 ? clients : 2))" -T "$seconds" -D run="$pg_run" -D n="$n" -D first_mobile=13000000000 \
    -D users="$users" -D sessions=1024 -D clients="$clients" "$@" "$database" 2>"$tmp/pgbench.log" >"$tmp/pgbench" ||
    { cat "$tmp/pgbench.log" >&2; die "pgbench failed"; }
}

# The same statements one at a time, at numbers of clients of which one suits this machine best.
compare_with_pgbench() {
  local store=$1 operation=$2 users=$3 clients
  for clients in 8 16 32; do
    psql -c CHECKPOINT postgres
    pgbench_for "$store" "$operation" "$users" "$clients" 1
    pgbench_for "$store" "$operation" "$users" "$clients" "$SECONDS_PER_PHASE"
    record awk -v store="$store" -v round="$round" -v operation="$operation" -v clients="$clients" '/^tps = / {
        printf "{\"store\":\"%s\",\"round\":%d,\"what\":\"pgbench\",\"operation\":\"%s\",\"clients\":%d,\"per_second\":%.1f}\n",
          store, round, operation, clients, $3
      }' "$tmp/pgbench"
  done
}

# One round trip of PostgreSQL at a time: the median, as pgbench itself knows only the mean.
round_trip_of_postgres() {
  local operation=$1
  psql -c CHECKPOINT postgres
  pgbench_for small "$operation" "$USERS_SMALL" 1 1
  rm -f "$tmp"/transactions.*
  pgbench_for small "$operation" "$USERS_SMALL" 1 "$SECONDS_PER_PHASE" --log --log-prefix="$tmp/transactions"
  cut -d ' ' -f 3 "$tmp"/transactions.* | sort -n >"$tmp/micros"
  record awk -v round="$round" -v operation="$operation" '{ micros[NR] = $1 } END {
      printf "{\"round\":%d,\"what\":\"postgres_round_trip\",\"operation\":\"%s\",\"p50_us\":%d}\n",
        round, operation, micros[int((NR + 1) / 2)]
    }' "$tmp/micros"
}

# What an operation is held against, right after it: this machine may be slower or faster in a minute.
compare_with_parts() {
  local by_itself=(--seconds "$SECONDS_PER_PHASE" --label "round=$round")
  case $1 in
    small:register | small:sign_in)
      case ",$CONNECTIONS," in *,1,*) ;; *) return ;; esac
      round_trip_of_postgres "${1#small:}"
      record "$LOAD/load" redis-round-trip --redis "127.0.0.1:$redis_port" "${by_itself[@]}"
      ;;
    small:me | small:check) measure_empty ;;
    small:password) record "$LOAD/load" hash "${by_itself[@]}" ;;
    sqlite:sign_in)
      record "$LOAD/load" sqlite-transactions --file "$tmp/data/phonepass.db" --users "$USERS_SMALL" "${by_itself[@]}"
      ;;
  esac
}

# The framework alone: a server that answers 204.
measure_empty() {
  local connections
  for connections in ${CONNECTIONS//,/ }; do
    "$LOAD/empty" "127.0.0.1:$http_port" >"$tmp/service.log" 2>&1 &
    service_pid=$!
    until (: <>"/dev/tcp/127.0.0.1/$http_port") 2>/dev/null; do kill -0 "$service_pid" && sleep 0.02; done
    offer empty 1 "empty:$connections"
    stop_service
  done
}

# sign_in at a rate at which it should be at ease. Needs what the closed loop reached in this round.
measure_offered() {
  local rate
  rate=$(sed -n "/\"store\":\"small\",\"round\":$round,\"what\":\"phase\",\"operation\":\"sign_in\".*\"connections\":64,\"offered\":false/"'s/.*"per_second":\([0-9]*\).*/\1/p' "$results")
  if [ -z "$rate" ]; then
    say 'offered is left out: it needs sign_in on 64 connections'
    return
  fi
  phase small "$USERS_SMALL" "sign_in:64@$((rate * 7 / 10))"
}

measure_idle() {
  local store
  for store in ${STORES//,/ }; do
    if [ "$store" = large ]; then continue; fi
    start "$store"
    sleep 1
    record awk -v store="$store" -v round="$round" '/^VmRSS:/ {
        printf "{\"store\":\"%s\",\"round\":%d,\"what\":\"idle\",\"server_kb\":%d}\n", store, round, $2
      }' "/proc/$service_pid/status"
    stop_service
  done
}

measure_start() {
  local settings
  mapfile -t settings < <(service_settings sqlite)
  rm -rf "$tmp/start"
  mkdir -m 700 "$tmp/start"
  record env "${settings[@]}" "$LOAD/load" start "$PHONEPASS" --service "127.0.0.1:$http_port" --folder "$tmp/start" \
    --label "round=$round"
}

# populate STORE USERS: a database for the service, and a copy for pgbench.
populate() {
  local settings
  say "$2 users for $1"
  psql -c "CREATE DATABASE $1" postgres
  mapfile -t settings < <(service_settings "$1")
  env "${settings[@]}" "$PHONEPASS" migrate >"$tmp/service.log" 2>&1
  run psql "$1" -v users="$2" -v password_hash="$password_hash" -f benches/load/populate.sql
  psql -c "CREATE DATABASE $1_pgbench TEMPLATE $1" postgres
}

populate_sqlite() {
  local settings
  say "$USERS_SMALL users for sqlite"
  mapfile -t settings < <(service_settings sqlite)
  awk -v users="$USERS_SMALL" -v hash="$password_hash" 'BEGIN {
      print "mobile,name,password_hash,created_at"
      for (i = 0; i < users; i++) printf "%.0f,,\"%s\",2025-06-01\n", 13000000000 + i, i % 4 ? "" : hash
    }' >"$tmp/users.csv"
  run env "${settings[@]}" "$PHONEPASS" users import "$tmp/users.csv" >"$tmp/service.log" 2>&1
  grep -q "imported $USERS_SMALL," "$tmp/service.log" || die 'not all users were imported'
}

# --- The order of things -----------------------------------------------------------------------------------------

[ -r /proc/self/stat ] || die 'this needs the /proc of Linux'
for name in $(compgen -e); do
  case $name in PG*) unset "$name" ;; esac
done
need_postgres psql pgbench
need_redis
need_rust
if [ -z "$PHONEPASS" ]; then
  run cargo build --release --locked
  PHONEPASS=${CARGO_TARGET_DIR:-$root/target}/release/phonepass
fi
if [ -z "$LOAD" ]; then
  run cargo build --release --locked --manifest-path benches/load/Cargo.toml
  LOAD=${CARGO_TARGET_DIR:-benches/load/target}/release
fi

make_tmp
mkdir -m 700 "$tmp/data"
results=$tmp/results
: >"$results"

# As safe as by default (fsync, synchronous_commit), with room for the data and no checkpoint within a phase.
start_postgres 'shared_buffers = 512MB' 'max_wal_size = 4GB' 'checkpoint_timeout = 15min'
start_redis
http_port=$(free_port)
webhook_port=$(free_port)
runs=0
password_hash=$("$LOAD/load" password-hash)

has_store() {
  case ",$STORES," in *",$1,"*) return 0 ;; *) return 1 ;; esac
}
if [ "$USERS_LARGE" -eq 0 ]; then STORES=$(printf '%s' "$STORES" | tr ',' '\n' | grep -vx large | paste -sd, -); fi
if has_store small; then populate small "$USERS_SMALL"; fi
if has_store large; then populate large "$USERS_LARGE"; fi
if has_store sqlite; then populate_sqlite; fi

for ((round = 1; round <= ROUNDS; round++)); do
  say "load of this machine before round $round: $(cut -d ' ' -f 1-3 /proc/loadavg)"
  for store in ${STORES//,/ }; do
    users=$USERS_SMALL operations=$OPERATIONS
    if [ "$store" = large ]; then users=$USERS_LARGE operations=$OPERATIONS_LARGE; fi
    for operation in $operations; do
      wanted "$operation" || continue
      say "round $round of $ROUNDS: $operation on $store"
      for connections in ${CONNECTIONS//,/ }; do
        phase "$store" "$users" "$operation:$connections"
      done
      if [ "$store" != sqlite ] && [ -f "benches/load/$operation.sql" ]; then
        compare_with_pgbench "$store" "$operation" "$users"
      fi
      compare_with_parts "$store:$operation"
    done
  done
  for other in $OTHERS; do
    wanted "$other" || continue
    say "round $round of $ROUNDS: $other"
    case $other in
      offered) if has_store small; then measure_offered; fi ;;
      mixed) if has_store small; then phase small "$USERS_SMALL" password:16 sign_in:64; fi ;;
      start) measure_start ;;
      idle) measure_idle ;;
    esac
  done
done

"$LOAD/load" table <"$results"
