# Does @hey-api/openapi-ts make a client that compiles strictly and signs in?
source lib.sh
need_node
cp typescript/* typescript-hey-api/* "$WORK"
cd "$WORK"
npm ci --loglevel=error --no-audit --no-fund
npx openapi-ts --input "$OPENAPI" --output generated --no-log-file
# The client's own code knows no exactOptionalPropertyTypes, so it is compiled by itself; its declarations keep to it.
npx tsc --project generated.tsconfig.json
npx tsc
node --test scenario.test.js
