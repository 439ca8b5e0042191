# Does the example for Node accept a good access token and refuse an expired, a tampered and somebody else's?
source lib.sh
need_node
cp "$root"/examples/verify/node/* "$WORK"
cd "$WORK"
npm install --loglevel=error --no-audit --no-fund
export ISSUER=$PHONEPASS_URL
verifies node verify.mjs
