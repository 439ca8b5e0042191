# Does openapi-generator make a Python client of the whole document without a warning, does it pass mypy --strict as far as
# the generator's plumbing lets it, and does it work against a live server?
source lib.sh
source python/venv.sh

part=$PWD/python-openapi-generator
python_with "$part/requirements.txt"
openapi_generator generate --generator-name python --input-spec "$OPENAPI" --output "$WORK" \
  --additional-properties packageName=phonepass_client,generateSourceCodeOnly=true \
  --global-property apiDocs=false,apiTests=false,modelDocs=false,modelTests=false
cp "$part"/* python/phone.py "$WORK"
cd "$WORK"

mypy .
python -W error -m pytest --quiet -W error
