#!/usr/bin/env bash
# Have Redocly (recommended) and Spectral (spectral:oas) anything to say about the document, in either language? The
# slightest warning is a failure. Does PyYAML, a reader of YAML 1.1, find the same in its YAML as in its JSON?
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$root/tests/document"

forget_settings
need_rust
need_node
need_python
has curl || need curl curl curl
make_tmp
build_service
for language in en zh; do
  run "$service" openapi --lang "$language" >"$tmp/phonepass.$language.json"
done
run npm ci --silent --no-audit --no-fund --ignore-scripts
pyyaml=$root/target/tools/pyyaml
if [ ! -d "$pyyaml" ]; then run python3 -m venv "$pyyaml"; fi
run "$pyyaml/bin/pip" install --quiet --disable-pip-version-check PyYAML==6.0.3
http_port=$(free_port)
start_service "$service" "PUBLIC_URL=http://127.0.0.1:8000" "DATA_DIR=$tmp/data"
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true

found=''
for language in en zh; do
  document=$tmp/phonepass.$language.json
  say "$language"
  run node_modules/.bin/redocly lint --config redocly.yaml --format=json "$document" >"$tmp/redocly" 2>"$tmp/redocly.log" || found=yes
  if [ "$(node -p 'JSON.parse(require("fs").readFileSync(0)).problems.length' <"$tmp/redocly")" != 0 ]; then found=yes; fi
  run node_modules/.bin/spectral lint --ruleset spectral.yaml --fail-severity=hint "$document" || found=yes
  run curl -fsS "http://127.0.0.1:$http_port/openapi.yaml?lang=$language" --output "$tmp/phonepass.$language.yaml"
  run "$pyyaml/bin/python" yaml_1_1.py "$tmp/phonepass.$language.yaml" "$document" || found=yes
  if [ -n "$found" ]; then cat "$tmp/redocly" "$tmp/redocly.log" >&2; fi
done
stop_service
[ -z "$found" ]
