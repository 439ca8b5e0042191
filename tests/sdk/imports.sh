# Do Postman and Bruno import the document?
source lib.sh
need_node
cp imports/* "$WORK"
cd "$WORK"
npm install --loglevel=error --no-audit --no-fund --ignore-scripts
node --test imports.test.mjs
