# Does the client that oapi-codegen makes pass vet and staticcheck, and does it work?
source lib.sh
need_go

mkdir "$WORK/phonepass"
cp go/* "$WORK"
cd "$WORK"
go tool oapi-codegen -config oapi-codegen.yaml "$OPENAPI"
go vet ./...
go tool staticcheck ./...
go test -count=1 -v .
