# Do openapi-typescript and openapi-fetch make a client that compiles strictly and signs in?
source lib.sh
need_node
cp typescript/* typescript-openapi-fetch/* "$WORK"
cd "$WORK"
npm ci --loglevel=error --no-audit --no-fund
npx openapi-typescript "$OPENAPI" --output phonepass.d.ts
npx tsc
node --test scenario.test.js
