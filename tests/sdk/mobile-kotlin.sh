# Does the token holder for Android apps keep a user signed in, whatever the network does?
source lib.sh
need java openjdk-17-jdk-headless openjdk@17
need mvn maven maven

# The compiler runs once: optimizing it would take longer than it saves.
MAVEN_OPTS=-XX:TieredStopAtLevel=1 mvn -B -q -f mobile-kotlin/pom.xml -Dwork="$WORK" test
