# Puts Go 1.26 or newer first in PATH. Debian 12 has 1.19, which does not switch to a newer one by itself, but can download
# its module and checks that against the checksum database. The rest is what a newer Go does with such a module.
need_go() {
  has go || need Go golang-go go
  if printf '%s\n' go1.26 "$(go env GOVERSION)" | sort -CV; then return; fi
  local module go
  module=golang.org/toolchain@v0.0.1-go1.26.8.$(go env GOHOSTOS)-$(go env GOHOSTARCH)
  (cd "$WORK" && go mod download "$module")
  go=$(go env GOMODCACHE)/$module
  chmod -R u+w "$go"
  chmod -R +x "$go/bin" "$go/pkg/tool"
  find "$go/src" -name _go.mod -execdir cp {} go.mod \;
  PATH=$go/bin:$PATH
}
