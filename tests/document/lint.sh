#!/usr/bin/env bash
# Have Redocly (recommended) and Spectral (spectral:oas) anything to say about the document, in either language? The
# slightest warning is a failure.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$root/tests/document"

need_rust
need_node
make_tmp
for language in en zh; do
  run cargo run --quiet --locked --manifest-path "$root/Cargo.toml" -- openapi --lang "$language" >"$tmp/phonepass.$language.json"
done
run npm ci --silent --no-audit --no-fund --ignore-scripts
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true

found=''
for language in en zh; do
  document=$tmp/phonepass.$language.json
  say "$language"
  run node_modules/.bin/redocly lint --config redocly.yaml --format=json "$document" >"$tmp/redocly" 2>"$tmp/redocly.log" || found=yes
  if [ "$(node -p 'JSON.parse(require("fs").readFileSync(0)).problems.length' <"$tmp/redocly")" != 0 ]; then found=yes; fi
  run node_modules/.bin/spectral lint --ruleset spectral.yaml --fail-severity=hint "$document" || found=yes
  if [ -n "$found" ]; then cat "$tmp/redocly" "$tmp/redocly.log" >&2; fi
done
[ -z "$found" ]
