# What the parts of tests/sdk share beside tests/lib.sh.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
trap - EXIT # what a part leaves is in $WORK, which run.sh removes

# Generates a client. A warning is a failure, but for one that this version gives of every document, and one that says
# that comments in Java do not quote the examples.
openapi_generator() {
  local tools=$root/target/tools/openapi-generator
  need_java
  need_python
  if [ ! -x "$tools/bin/openapi-generator-cli" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check openapi-generator-cli==7.26.0
  fi
  "$tools/bin/openapi-generator-cli" "$@" >"$WORK/openapi-generator.log" 2>&1 || { cat "$WORK/openapi-generator.log" >&2; return 1; }
  ! grep -E 'WARN|ERROR' "$WORK/openapi-generator.log" | \
    grep -vE 'Failed to get the schema name: null|Ignoring complex example on request body' >&2
}

need_java() {
  has javac || need 'a JDK' openjdk-17-jdk-headless openjdk
}

need_maven() {
  need_java
  has mvn || need Maven maven maven
}

# A service that asks for a proof of work before each message, at $CHALLENGING_URL. It ends with the part.
start_challenging_service() {
  tmp=$WORK
  http_port=$(free_port)
  export CHALLENGING_URL=http://127.0.0.1:$http_port
  start_service "$PROGRAM" "DATA_DIR=$WORK/data" IMAGE_CODE=always CHALLENGES=pow SMS_RESEND_SECONDS=0
}

# verifies COMMAND...: does this program believe the one good token, and none of the bad ones?
verifies() {
  local user_id name
  user_id=$("$@" "$TOKEN_VALID") || die "$*: refuses a valid token"
  [ "$user_id" = "$(claim sub "$TOKEN_VALID")" ] || die "$*: a valid token is that of \"$user_id\""
  for name in TOKEN_EXPIRED TOKEN_TAMPERED TOKEN_WRONG_AUDIENCE; do
    if "$@" "${!name}" >"$WORK/verified" 2>"$WORK/reason"; then die "$*: believes $name"; fi
    [ -s "$WORK/reason" ] || die "$*: gives no reason for $name"
    say "$name: $(tail -n 1 "$WORK/reason")"
  done
}

# claim NAME TOKEN: a claim that is text.
claim() {
  local payload=${2#*.}
  payload=${payload%%.*}
  while [ $((${#payload} % 4)) -ne 0 ]; do payload=$payload=; done
  printf '%s' "$payload" | tr '_-' '/+' | base64 -d | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"
}
