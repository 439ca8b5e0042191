# Does a back end in Java, with Nimbus, believe the right tokens?
source lib.sh
need_maven

mvn -B -q -f "$root/examples/verify/java/pom.xml" -Dtarget="$WORK" compile
export ISSUER=$PHONEPASS_URL
verifies java -cp "$WORK/classes:$WORK/libraries/*" Verify
