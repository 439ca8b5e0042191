# Does openapi-python-client make a client of the whole document without a warning, does it pass mypy --strict, and does it
# work against a live server?
source lib.sh
source python/venv.sh

part=$PWD/python-openapi-python-client
python_with "$part/requirements.txt"
cp "$part"/* python/phone.py "$WORK"
cd "$WORK"

openapi-python-client generate --path "$OPENAPI" --config generator.yml --meta none \
  --output-path phonepass_client --fail-on-warning
mypy .
python -W error -m pytest --quiet -W error
