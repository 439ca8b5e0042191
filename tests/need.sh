#!/usr/bin/env bash
# Finds, installs or starts what a test needs, and prints where it is:  TEST_SERVERS=FOLDER tests/need.sh TEST_REDIS_URL
# The tests call it when they run, one at a time, unless the folder has a file of that name or the variable is set.
# Servers stay until test.sh stops those of the folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap tidy EXIT
tmp=$TEST_SERVERS

case $1 in
  TEST_POSTGRES_URL)
    need_postgres pg_basebackup
    start_postgres 'fsync = off' # what tests write need not outlive a power cut
    say "$("$pg_bin/postgres" --version) on port $pg_port"
    value="postgres://postgres@127.0.0.1:$pg_port/postgres"
    ;;
  TEST_REDIS_URL)
    need_redis
    start_redis
    say "$("$redis_server" --version | cut -d' ' -f1-3) on port $redis_port"
    value="redis://127.0.0.1:$redis_port"
    ;;
  # Tests that stop a server start one of their own.
  TEST_POSTGRES_BIN)
    need_postgres pg_basebackup
    value=$pg_bin
    ;;
  TEST_REDIS_SERVER)
    need_redis
    value=$redis_server
    ;;
  TEST_VALKEY_SERVER)
    need_valkey
    value=$valkey_server
    ;;
  TEST_NGINX)
    need_in_sbin nginx nginx
    value=$nginx
    ;;
  TEST_PGBOUNCER)
    need_in_sbin PgBouncer pgbouncer
    value=$pgbouncer
    ;;
  TEST_HAPROXY)
    need_in_sbin HAProxy haproxy
    value=$haproxy
    ;;
  *) die "$1 is nothing that tests need" ;;
esac
printf '%s\n' "$value" >"$tmp/$1.new"
mv "$tmp/$1.new" "$tmp/$1"
printf '%s\n' "$value"
