# Does the token holder in Kotlin, for Android apps, keep a user signed in when tokens expire and networks fail, and does
# the proof of work open the way to a code?
source lib.sh
need_maven
start_challenging_service

# Optimizing a compiler that runs once takes longer than it saves.
MAVEN_OPTS=-XX:TieredStopAtLevel=1 mvn -B -q -f mobile-kotlin/pom.xml -Dwork="$WORK" test
