# Does the example for Java accept a good access token and refuse an expired, a tampered and somebody else's?
source lib.sh
need_maven

mvn -B -q -f "$root/examples/verify/java/pom.xml" -Dtarget="$WORK" compile
export ISSUER=$PHONEPASS_URL
verifies java -cp "$WORK/classes:$WORK/libraries/*" Verify
