# Does the client that openapi-generator makes for Java compile without a warning, and does it work?
source lib.sh
need_maven

openapi_generator generate -g java --library native -i "$OPENAPI" -o "$WORK/client" \
  --global-property apis,models,supportingFiles,apiDocs=false,modelDocs=false,apiTests=false,modelTests=false \
  --additional-properties invokerPackage=phonepass,apiPackage=phonepass.api,modelPackage=phonepass.model \
  --additional-properties useJakartaEe=true,useJackson3=true,openApiNullable=false
mvn -B -q -f java/pom.xml -Dwork="$WORK" test
