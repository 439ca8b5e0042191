# Is the Dart client that openapi-generator makes complete, and, where there is a Dart SDK, does it compile and work against
# a live server?
source lib.sh

openapi_generator generate --generator-name dart --input-spec "$OPENAPI" --output "$WORK/client" \
  --additional-properties pubName=phonepass_client
python3 uncompiled/check.py dart "$OPENAPI" "$WORK/client/lib/api" "$WORK/client/lib/model"

if has dart; then
  cp -R dart/. "$WORK"
  cd "$WORK"
  dart pub get
  dart analyze --fatal-infos bin
  dart run --enable-asserts bin/signs_in_and_out.dart
else
  echo "generated, not compiled: dart is not installed" | tee "$WORK/note"
fi
