#!/usr/bin/env bash
# Runs every test against real servers:  ./test.sh            all tests, then the browser test
#                                        ./test.sh races ...  only `cargo test races ...`
# PostgreSQL, PgBouncer, Redis, Valkey, nginx and HAProxy are found or installed. PostgreSQL and Redis are started on free
# ports in a temporary folder, and stopped at the end; tests that stop a server, or need another one, start it themselves.
# DATABASE_URL (postgres://...) and REDIS_URL name servers to use instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tests/lib.sh

find_chromium() {
  local path
  for path in chromium chromium-browser google-chrome google-chrome-stable \
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' \
    '/Applications/Chromium.app/Contents/MacOS/Chromium'; do
    if has "$path"; then command -v "$path"; return; fi
  done
}

need_rust
given_postgres=''
case ${DATABASE_URL:-} in
  postgres://* | postgresql://*) given_postgres=$DATABASE_URL ;;
  ?*) say 'DATABASE_URL is not postgres://..., so a server of our own is used' ;;
esac
given_redis=${REDIS_URL:-}
forget_settings
if [ -z "$given_postgres" ]; then
  for name in $(compgen -e); do
    case $name in PG*) unset "$name" ;; esac # they complete a URL that names a server of yours
  done
fi

# Tests that stop and restart a server need its program even where the other tests are given a running one.
need_postgres pg_basebackup
need_redis
need_valkey
need_in_sbin nginx nginx
need_in_sbin PgBouncer pgbouncer
need_in_sbin HAProxy haproxy

make_tmp
# The tests' own temporary folder: what they leave when they are interrupted goes, too.
mkdir -m 1777 "$tmp/t"
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
export TEST_POSTGRES_BIN=$pg_bin TEST_REDIS_SERVER=$redis_server TEST_VALKEY_SERVER=$valkey_server
export TEST_NGINX=$nginx TEST_PGBOUNCER=$pgbouncer TEST_HAPROXY=$haproxy

# Most tests wait for servers rather than for the processor.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(getconf _NPROCESSORS_ONLN) * 3))}

if [ $# -gt 0 ]; then
  run env TMPDIR="$tmp/t" cargo test --locked "$@"
  exit
fi

failed=''
run env TMPDIR="$tmp/t" cargo test --locked --no-fail-fast || failed="$failed cargo-test"

need_node
CHROMIUM=${CHROMIUM:-$(find_chromium)}
if [ -z "$CHROMIUM" ]; then
  need Chromium chromium '--cask chromium'
  CHROMIUM=$(find_chromium)
fi
[ -n "$CHROMIUM" ] || die 'Chromium was installed, but is not found; name it in CHROMIUM'
export CHROMIUM
run cargo build --locked
run env PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --prefix tests/browser
run env TMPDIR="$tmp/t" SCREENSHOT_DIR="${TMPDIR:-/tmp}" node --test tests/browser/swagger_ui.test.mjs || failed="$failed browser"

[ -z "$failed" ] || die "failed:$failed"
