# Does the example for Go accept a good access token and refuse an expired, a tampered and somebody else's?
source lib.sh
need_go
cd "$root/examples/verify/go"
go vet .
go build -o "$WORK/verify" .
export ISSUER=$PHONEPASS_URL
verifies "$WORK/verify"
