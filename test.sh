#!/usr/bin/env bash
# Runs the tests against real servers:  ./test.sh            all of them, then the browser test
#                                       ./test.sh races ...  only `cargo test races ...`, and the servers that those need
#                                       ./test.sh up         starts PostgreSQL and Redis, and prints what to export, so
#                                                            that `cargo test races` alone works
#                                       ./test.sh down       stops them
# What the tests need is found or installed. PostgreSQL and Redis of a run are started on free ports in a temporary folder,
# and stopped at its end; tests that stop a server, or need another one, start it themselves.
# DATABASE_URL (postgres://...) and REDIS_URL name servers to use instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tests/lib.sh

everything=(TEST_POSTGRES_URL TEST_POSTGRES_BIN TEST_REDIS_URL TEST_REDIS_SERVER TEST_VALKEY_SERVER TEST_NGINX
  TEST_PGBOUNCER TEST_HAPROXY)
# A file with the folder of the servers that are up.
up=target/test-servers
given_postgres=''

find_chromium() {
  local path
  for path in chromium chromium-browser google-chrome google-chrome-stable \
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' \
    '/Applications/Chromium.app/Contents/MacOS/Chromium'; do
    if has "$path"; then command -v "$path"; return; fi
  done
}

# The folder that tests/need.sh works in, with the servers that the caller named.
make_servers() {
  make_tmp
  export TEST_SERVERS=$tmp
  # The tests' own temporary folder: what they leave when they are interrupted goes, too.
  mkdir -m 1777 "$tmp/t"
  case ${DATABASE_URL:-} in
    postgres://* | postgresql://*)
      say 'PostgreSQL: the server that DATABASE_URL names'
      given_postgres=$DATABASE_URL
      printf '%s\n' "$DATABASE_URL" >"$tmp/TEST_POSTGRES_URL"
      ;;
    ?*) say 'DATABASE_URL is not postgres://..., so a server of our own is used' ;;
  esac
  if [ -n "${REDIS_URL:-}" ]; then
    say 'Redis: the server that REDIS_URL names'
    printf '%s\n' "$REDIS_URL" >"$tmp/TEST_REDIS_URL"
  fi
}

# need_now VARIABLE...: what tests would find or start when they need it.
need_now() {
  local name
  for name in "$@"; do
    if [ -z "${!name:-}" ] && [ ! -e "$TEST_SERVERS/$name" ]; then run tests/need.sh "$name" >/dev/null; fi
  done
}

servers_up() { [ -s "$up" ] && [ -d "$(cat "$up")" ]; }

case ${1:-} in
  up)
    if ! servers_up; then
      make_servers
      need_now TEST_POSTGRES_URL TEST_REDIS_URL
      mkdir -p "$(dirname "$up")"
      printf '%s\n' "$tmp" >"$up"
    fi
    printf 'export TEST_SERVERS=%q\n' "$(cat "$up")"
    trap - EXIT
    exit
    ;;
  down)
    if servers_up; then
      tmp=$(cat "$up")
      discard
    fi
    rm -f "$up"
    trap - EXIT
    exit
    ;;
esac

need_rust
if servers_up; then
  say 'the servers of ./test.sh up are used'
  TEST_SERVERS=$(cat "$up")
  export TEST_SERVERS
else
  make_servers
fi
forget_settings
if [ -z "$given_postgres" ]; then
  for name in $(compgen -e); do
    case $name in PG*) unset "$name" ;; esac # they complete a URL that names a server of yours
  done
fi

# Most tests wait for servers rather than for the processor.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(getconf _NPROCESSORS_ONLN) * 3))}

if [ $# -gt 0 ]; then
  run env TMPDIR="$TEST_SERVERS/t" cargo test --locked "$@"
  exit
fi

need_now "${everything[@]}"
failed=''
run env TMPDIR="$TEST_SERVERS/t" cargo test --locked --no-fail-fast || failed="$failed cargo-test"

need_node
CHROMIUM=${CHROMIUM:-$(find_chromium)}
if [ -z "$CHROMIUM" ]; then
  need Chromium chromium '--cask chromium'
  CHROMIUM=$(find_chromium)
fi
[ -n "$CHROMIUM" ] || die 'Chromium was installed, but is not found; name it in CHROMIUM'
export CHROMIUM
build_service
run env PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --prefix tests/browser
run env TMPDIR="$TEST_SERVERS/t" SCREENSHOT_DIR="${TMPDIR:-/tmp}" node --test tests/browser/swagger_ui.test.mjs || failed="$failed browser"

[ -z "$failed" ] || die "failed:$failed"
