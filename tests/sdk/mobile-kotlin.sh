# Does the token holder in Kotlin, for Android apps, keep a user signed in when tokens expire and networks fail?
source lib.sh
need_maven

# Optimizing a compiler that runs once takes longer than it saves.
MAVEN_OPTS=-XX:TieredStopAtLevel=1 mvn -B -q -f mobile-kotlin/pom.xml -Dwork="$WORK" test
