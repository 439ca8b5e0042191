# Does the Python example accept a good access token and refuse the others?
source lib.sh
source python/venv.sh

example=$PWD/../../examples/verify/python
python_with "$example/requirements.txt"
export ISSUER=$PHONEPASS_URL
verifies python -W error "$example/verify.py"
