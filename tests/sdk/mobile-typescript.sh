# Does the token holder in TypeScript keep a user signed in when tokens expire and networks fail, and does the proof of
# work open the way to a code?
source lib.sh
need_node
start_challenging_service
cp typescript/tsconfig.json "$root"/examples/mobile/typescript/* "$WORK"
cd "$WORK"
npm install --loglevel=error --no-audit --no-fund
npx tsc
node --test device.test.js token_holder.test.js proof_of_work.test.js
