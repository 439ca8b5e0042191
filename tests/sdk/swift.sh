# Is the Swift client that openapi-generator makes complete, and, where there is a Swift compiler, does it compile and work
# against a live server?
source lib.sh

openapi_generator generate --generator-name swift6 --input-spec "$OPENAPI" --output "$WORK/client" \
  --additional-properties projectName=Phonepass
python3 uncompiled/check.py swift "$OPENAPI" "$WORK/client/Sources/Phonepass/APIs" "$WORK/client/Sources/Phonepass/Models"

# Not `swift`: OpenStack's client has that name, too.
if has swiftc; then
  cp -R swift/. "$WORK"
  swift run --package-path "$WORK" --jobs 2
else
  echo "generated, not compiled: swift is not installed" | tee "$WORK/note"
fi
