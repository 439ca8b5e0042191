#!/usr/bin/env bash
# Do clients that are generated from openapi/phonepass.json work, and do the examples?
#   tests/sdk/run.sh                      every part
#   tests/sdk/run.sh typescript verify    those whose names begin so
# A part is a script in this folder. It generates, compiles and runs against a service that this script starts. What a
# part needs is found or installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$root/tests/sdk"

wanted() {
  local name
  if [ "${#only[@]}" -eq 0 ]; then return 0; fi
  for name in "${only[@]}"; do
    case $1 in "$name"*) return 0 ;; esac
  done
  return 1
}

only=("$@")
parts=()
for script in *.sh; do
  part=${script%.sh}
  case $part in run | lib) continue ;; esac
  if wanted "$part"; then parts+=("$part"); fi
done
[ "${#parts[@]}" -gt 0 ] || die "no part is called $*"

forget_settings
need_rust
has curl || need curl curl curl
need_node
make_tmp
build_service

export PROGRAM=$service
http_port=$(free_port)
export PHONEPASS_URL=http://127.0.0.1:$http_port OPENAPI=$root/openapi/phonepass.json
settings=("DATA_DIR=$tmp/data" IMAGE_CODE=never SMS_RESEND_SECONDS=0 SMS_PER_MOBILE_PER_DAY=0 SMS_PER_IP_PER_HOUR=0
  SMS_ASKS_PER_IP_PER_HOUR=0)
key=$(env "${settings[@]}" "$service" keys generate)
start_service "$service" "${settings[@]}"
answer=$(curl -sS -H 'Content-Type: application/json' -d '{"mobile":"13800100500","code":"246810"}' "$PHONEPASS_URL/app/v1_0/authorizations")
valid=$(printf '%s' "$answer" | sed 's/.*"token":"\([^"]*\)".*/\1/')
eval "$(node tokens.mjs "$key" "$valid")"

rows=''
passed=0
failed=0
for part in "${parts[@]}"; do
  say "$part"
  export WORK=$tmp/work/$part CACHE=$root/target/sdk/$part
  mkdir -p "$WORK" "$CACHE"
  began=$SECONDS
  if run bash "$part.sh" >"$tmp/$part.log" 2>&1; then
    passed=$((passed + 1))
    result=passed
  else
    failed=$((failed + 1))
    result=FAILED
    cat "$tmp/$part.log"
  fi
  note=$(cat "$WORK/note" 2>/dev/null || true)
  rows+=$(printf '%-32s %-7s %5d s  %s' "$part" "$result" "$((SECONDS - began))" "$note")$'\n'
  rm -rf "$WORK"
done

printf '\n%s\n%d passed, %d failed\n' "$rows" "$passed" "$failed"
[ "$failed" -eq 0 ]
