# Does the client that openapi-generator makes for Kotlin compile without a warning, and does it work?
source lib.sh
need java openjdk-17-jdk-headless openjdk@17
need mvn maven maven

openapi_generator generate -g kotlin --library jvm-okhttp4 -i "$OPENAPI" -o "$WORK/client" \
    --global-property apis,models,supportingFiles,apiDocs=false,modelDocs=false,apiTests=false,modelTests=false \
    --additional-properties packageName=phonepass,serializationLibrary=moshi,enumPropertyNaming=UPPERCASE
mvn -B -q -f kotlin/pom.xml -Dwork="$WORK" test
