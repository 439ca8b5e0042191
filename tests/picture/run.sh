#!/usr/bin/env bash
# How many picture codes does ready-made OCR read? Fails if it reads more than the bounds in measure.py allow.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

forget_settings
need_rust
need_redis
need_python
build_service
tools=$root/target/tools/picture
run python3 -m venv "$tools"
run "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$root/tests/picture/requirements.txt"

make_tmp
start_redis # where the texts of the pictures are
http_port=$(free_port)
start_service "$service" "REDIS_URL=redis://127.0.0.1:$redis_port" "DATA_DIR=$tmp/data"
run "$tools/bin/python" "$root/tests/picture/measure.py" "http://127.0.0.1:$http_port" "$redis_port"
stop_service
