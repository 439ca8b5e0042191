# The token holder for Android apps, in Kotlin.
source lib.sh
need_maven

# Optimizing a compiler that runs once takes longer than it saves.
MAVEN_OPTS=-XX:TieredStopAtLevel=1 mvn -B -q -f mobile-kotlin/pom.xml -Dwork="$WORK" test
