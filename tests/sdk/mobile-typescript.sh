# Does the token holder in TypeScript keep a user signed in when tokens expire and networks fail?
source lib.sh
need_node
cp typescript/tsconfig.json "$root"/examples/mobile/typescript/* "$WORK"
cd "$WORK"
npm install --loglevel=error --no-audit --no-fund
npx tsc
node --test token_holder.test.js
