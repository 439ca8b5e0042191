# Does the client that openapi-generator makes for Kotlin compile without a warning, and does it work?
source lib.sh
need_maven

openapi_generator generate -g kotlin --library jvm-okhttp4 -i "$OPENAPI" -o "$WORK/client" \
  --global-property apis,models,supportingFiles,apiDocs=false,modelDocs=false,apiTests=false,modelTests=false \
  --additional-properties packageName=phonepass,serializationLibrary=moshi,enumPropertyNaming=UPPERCASE
# Optimizing a compiler that runs once takes longer than it saves.
MAVEN_OPTS=-XX:TieredStopAtLevel=1 mvn -B -q -f kotlin/pom.xml -Dwork="$WORK" test
