#!/usr/bin/env bash
# Do the tools of Docker, Compose, HAProxy, systemd and Kubernetes accept what is in deploy? The configurations for
# docs/reverse-proxies.md are not looked at here.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$root/tests/deploy"

need_python
has haproxy || [ -x /usr/sbin/haproxy ] || need HAProxy haproxy haproxy
has systemd-analyze || need systemd-analyze systemd 'nothing, it is for Linux only,'
PATH=$PATH:/usr/sbin # a user's PATH on Debian leaves it out
make_tmp
need_go
tools=$root/target/tools/deploy
python3 -m venv "$tools"
run "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt

passed=0
failed=0
check() {
  say "$*"
  if run "$@" >"$tmp/said" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    tail -n 60 "$tmp/said" >&2
  fi
}

check "$tools/bin/hadolint" "$root/deploy/Dockerfile"

# The secrets that the file asks for are beside it.
mkdir "$tmp/compose"
cp "$root/deploy/compose.yaml" "$tmp/compose"
printf '%s\n' SECRET_KEY=secret POSTGRES_PASSWORD=password >"$tmp/compose/.env"
check go run -C compose . "$tmp/compose/compose.yaml"

check haproxy -c -f "$root/deploy/haproxy/haproxy.cfg"

# The program has to be where the unit says.
install -D /bin/true "$tmp/root/usr/local/bin/phonepass"
install -D -m 644 "$root/deploy/systemd/phonepass.service" "$tmp/root/etc/systemd/system/phonepass.service"
check systemd-analyze verify --recursive-errors=no --root="$tmp/root" phonepass.service
check systemd-analyze security --no-pager --offline=yes --threshold=15 --root="$tmp/root" phonepass.service

for manifest in "$root"/deploy/kubernetes/*; do
  check "$tools/bin/kubernetes-validate" --strict "$manifest"
done

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
