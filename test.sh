#!/usr/bin/env bash
# Runs every test against real servers:  ./test.sh            all tests, then the browser test
#                                        ./test.sh races ...  only `cargo test races ...`
# PostgreSQL, Redis and nginx are found or installed. PostgreSQL and Redis are started on free ports in a temporary
# folder, and stopped at the end; the tests of reverse proxies start an nginx each.
# DATABASE_URL (postgres://...) and REDIS_URL name servers to use instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec </dev/null # nothing here asks a question, and the caller's standard input may be closed

say() { printf '%s\n' "test.sh: $*" >&2; }
die() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

tmp=''
child=''
redis_pid=''
policy=''

# --- The end: also after a failure, Ctrl-C, a closed terminal or SIGTERM -----------------------------------------

# $1 is a pid, or with a minus sign a process group. In a container whose first process reaps no orphans, zombies stay.
alive() {
  kill -0 -- "$1" 2>/dev/null || return 1
  has ps || return 0
  ps -A -o pid=,pgid=,stat= | awk -v id="$1" '(id == $1 || id == -$2) && $3 !~ /^Z/ { found = 1 } END { exit !found }'
}

# Ends what this script started: ask, wait up to ten seconds, then insist.
stop() {
  local n=0
  kill -TERM -- "$1" 2>/dev/null || return 0
  while alive "$1"; do
    n=$((n + 1))
    if [ "$n" -eq 100 ]; then kill -KILL -- "$1" 2>/dev/null || true; fi
    if [ "$n" -gt 110 ]; then say "process $1 does not end"; break; fi
    sleep 0.1
  done
}

finish() {
  local status=$?
  trap '' INT TERM HUP PIPE # a second Ctrl-C must not leave servers behind
  trap - EXIT
  set +e
  if [ -n "$child" ]; then stop "-$child"; fi
  if [ -n "$policy" ]; then as_root rm -f "$policy"; fi
  if [ -n "$tmp" ]; then
    # Ours, and any that an interrupted test left; the data is thrown away.
    find "$tmp" -name postmaster.pid | while read -r file; do
      as_pg "$pg_bin/pg_ctl" -D "$(dirname "$file")" -m immediate -t 20 stop >/dev/null || say "$file: PostgreSQL still runs"
    done
    if [ -n "$redis_pid" ]; then stop "$redis_pid"; fi
    rm -rf "$tmp"
  fi
  if [ "$status" -eq 0 ]; then say passed; else say "FAILED (status $status)"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 141' PIPE

# In a process group of its own, so that the end of this script is the end of the command and of all that it started,
# and in the background, because bash answers a signal only after a command in the foreground has ended.
run() {
  local status=0
  set -m
  "$@" &
  child=$!
  set +m
  wait "$child" || status=$?
  stop "-$child" # what a failed test left running
  child=''
  return "$status"
}

# --- Finding and installing --------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# need WHAT "DEBIAN PACKAGES" "HOMEBREW FORMULAE"
need() {
  say "$1 not found"
  if ! has apt-get || ! as_root true 2>/dev/null; then
    die "install $1 first: apt-get install $2 (Debian, Ubuntu) or brew install $3 (macOS)"
  fi
  say "installing $2"
  # Debian starts a service when its package is installed; the tests start their own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  local apt='apt-get -qq -o DPkg::Lock::Timeout=300'
  run as_root env DEBIAN_FRONTEND=noninteractive sh -c "$apt update && $apt install -y --no-install-recommends $2" >&2 ||
    die "could not install $2"
  if [ -n "$policy" ]; then
    as_root rm -f "$policy"
    policy=''
  fi
}

# The folder with initdb, pg_ctl and postgres: the one in PATH, else the newest that Debian or Homebrew keep.
find_postgres() {
  local dir found='' brew=''
  if has brew; then brew=$(brew --prefix); fi
  for dir in /usr/lib/postgresql/?/bin /usr/lib/postgresql/??/bin \
    "$brew"/opt/postgresql@?/bin "$brew"/opt/postgresql@??/bin "$(dirname "$(command -v postgres)")"; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ] && [ -x "$dir/postgres" ]; then found=$dir; fi
  done
  printf '%s' "$found"
}

find_redis() { command -v redis-server || command -v valkey-server || true; }

# A user's PATH on Debian leaves out /usr/sbin.
find_nginx() {
  local path
  for path in nginx /usr/sbin/nginx; do
    if has "$path"; then command -v "$path"; return; fi
  done
}

find_chromium() {
  local path
  for path in chromium chromium-browser google-chrome google-chrome-stable \
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' \
    '/Applications/Chromium.app/Contents/MacOS/Chromium'; do
    if has "$path"; then command -v "$path"; return; fi
  done
}

node_major() { node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/'; }

# --- Servers -----------------------------------------------------------------------------------------------------

# Below 32768, where Linux starts to hand out ports to clients.
free_port() {
  local port n
  for ((n = 0; n < 200; n++)); do
    port=$((15000 + RANDOM % 17000))
    if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s' "$port"
      return
    fi
  done
  die 'no free port between 15000 and 32000'
}

# PostgreSQL refuses to run as root, and its programs complain when their user may not enter the current folder.
as_pg() (
  cd "$tmp/pg"
  if [ "$(id -u)" -ne 0 ]; then exec "$@"; fi
  exec setpriv --reuid "$pg_user" --regid "$(id -g "$pg_user")" --clear-groups "$@"
)

start_postgres() {
  local n
  as_pg "$pg_bin/initdb" -D "$tmp/pg/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$tmp/initdb.log" 2>&1 ||
    { cat "$tmp/initdb.log" >&2; die 'initdb failed'; }
  for n in 1 2 3; do # another process may take the port in between
    pg_port=$(free_port)
    {
      echo "listen_addresses = '127.0.0.1'"
      echo "port = $pg_port"
      echo "unix_socket_directories = '$tmp/pg'"
      echo 'max_connections = 200'
    } | as_pg tee -a "$tmp/pg/data/postgresql.conf" >/dev/null
    # LC_ALL: on macOS the server will not start without a locale.
    if as_pg env LC_ALL=C "$pg_bin/pg_ctl" -D "$tmp/pg/data" -l "$tmp/pg/log" -t 60 -w start >/dev/null 2>&1; then return; fi
    say "PostgreSQL did not start on port $pg_port (try $n)"
  done
  cat "$tmp/pg/log" >&2 || true
  die 'PostgreSQL does not start'
}

start_redis() {
  local n tick
  for n in 1 2 3; do
    redis_port=$(free_port)
    "$redis_server" --port "$redis_port" --bind 127.0.0.1 --dir "$tmp/redis" --save '' --appendonly no \
      >"$tmp/redis/log" 2>&1 &
    redis_pid=$!
    for ((tick = 0; tick < 300; tick++)); do
      if grep -q 'Ready to accept connections' "$tmp/redis/log"; then return; fi
      kill -0 "$redis_pid" 2>/dev/null || break
      sleep 0.1
    done
    stop "$redis_pid"
    redis_pid=''
    say "Redis did not start on port $redis_port (try $n)"
  done
  cat "$tmp/redis/log" >&2
  die 'Redis does not start'
}

# --- The tests ---------------------------------------------------------------------------------------------------

has cargo || die 'install Rust first: cargo is not in PATH'
has cc || need 'a C compiler' 'gcc libc6-dev' gcc

given_postgres=''
case ${DATABASE_URL:-} in
  postgres://* | postgresql://*) given_postgres=$DATABASE_URL ;;
  ?*) say 'DATABASE_URL is not postgres://..., so a server of our own is used' ;;
esac
given_redis=${REDIS_URL:-}

# The service's own settings would change what the tests see.
for name in $(compgen -e); do
  case $name in
    HTTP_ADDR | METRICS_ADDR | PUBLIC_URL | TRUSTED_PROXIES | DATA_DIR | SECRET_KEY | SHUTDOWN_DELAY | \
      CORS_* | DATABASE_* | REDIS_* | JWT_* | ACCESS_TOKEN_* | REFRESH_TOKEN_* | SESSION_MAX_AGE | SMS_* | VERIFY_PER_* | \
      REQUESTS_PER_* | IMAGE_CODE* | CLASSIC_* | PASSWORD_* | LOG_LEVEL | LOG_FORMAT | RUST_LOG | \
      YUNTONGXUN_* | ALIYUN_* | TENCENT_* | TWILIO_*) unset "$name" ;;
    PG*) if [ -z "$given_postgres" ]; then unset "$name"; fi ;; # they complete a URL that names a server of yours
  esac
done

# Tests that stop and restart a server need its program even where the other tests are given a running one.
pg_bin=$(find_postgres)
if [ -z "$pg_bin" ]; then
  need PostgreSQL postgresql postgresql@17
  pg_bin=$(find_postgres)
fi
[ -n "$pg_bin" ] || die 'PostgreSQL was installed, but initdb, pg_ctl and postgres are not found'
redis_server=$(find_redis)
if [ -z "$redis_server" ]; then
  need Redis redis-server redis
  redis_server=$(find_redis)
fi
[ -n "$redis_server" ] || die 'Redis was installed, but redis-server is not found'
nginx=$(find_nginx)
if [ -z "$nginx" ]; then
  need nginx nginx nginx
  nginx=$(find_nginx)
fi
[ -n "$nginx" ] || die 'nginx was installed, but is not found'

base=${TMPDIR:-/tmp}
pg_user=$(id -un)
if [ "$(id -u)" -eq 0 ]; then
  base=/tmp # root's own folder may be closed to PostgreSQL's user
  pg_user=postgres
  id -u postgres >/dev/null 2>&1 || pg_user=nobody
fi
tmp=$(mktemp -d "${base%/}/phonepass.XXXXXX")
# t is the tests' own temporary folder: what they leave when they are interrupted goes, too.
mkdir -m 700 "$tmp/pg" "$tmp/redis"
mkdir -m 1777 "$tmp/t"
if [ "$(id -u)" -eq 0 ]; then
  chmod 711 "$tmp"
  chown "$pg_user" "$tmp/pg"
fi

if [ -n "$given_postgres" ]; then
  export TEST_POSTGRES_URL=$given_postgres
  say 'PostgreSQL: the server that DATABASE_URL names'
else
  start_postgres
  export TEST_POSTGRES_URL="postgres://postgres@127.0.0.1:$pg_port/postgres"
  say "PostgreSQL: $("$pg_bin/postgres" --version) on port $pg_port"
fi
if [ -n "$given_redis" ]; then
  export TEST_REDIS_URL=$given_redis
  say 'Redis: the server that REDIS_URL names'
else
  start_redis
  export TEST_REDIS_URL="redis://127.0.0.1:$redis_port"
  say "Redis: $("$redis_server" --version | cut -d' ' -f1-3) on port $redis_port"
fi
export TEST_POSTGRES_BIN=$pg_bin TEST_REDIS_SERVER=$redis_server TEST_NGINX=$nginx

if [ $# -gt 0 ]; then
  run env TMPDIR="$tmp/t" cargo test --locked "$@"
  exit
fi

failed=''
run env TMPDIR="$tmp/t" cargo test --locked --no-fail-fast || failed="$failed cargo-test"

if ! has node || ! has npm; then need 'Node.js with npm' 'nodejs npm' node; fi
[ "$(node_major)" -ge 18 ] || die "Node.js 18 or newer is needed, this is $(node --version)"
CHROMIUM=${CHROMIUM:-$(find_chromium)}
if [ -z "$CHROMIUM" ]; then
  need Chromium chromium '--cask chromium'
  CHROMIUM=$(find_chromium)
fi
[ -n "$CHROMIUM" ] || die 'Chromium was installed, but is not found; name it in CHROMIUM'
export CHROMIUM
run cargo build --locked
run env PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --prefix tests/browser
run env TMPDIR="$tmp/t" SCREENSHOT_DIR="$base" node --test tests/browser/swagger_ui.test.mjs || failed="$failed browser"

[ -z "$failed" ] || die "failed:$failed"
