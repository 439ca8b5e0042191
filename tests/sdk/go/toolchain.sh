# Go 1.26 or newer in PATH. Debian 12 has 1.19, which does not yet fetch a newer Go by itself, but can fetch its module, and
# checks that against the checksum database. What is left to do is what a newer Go does with such a module.
need_go() {
  has go || need go golang-go go
  if printf '%s\n' go1.26 "$(go env GOVERSION)" | sort -CV; then return; fi
  local platform root
  platform="$(go env GOHOSTOS)-$(go env GOHOSTARCH)"
  root=$(cd "$WORK" && go mod download -json "golang.org/toolchain@v0.0.1-go1.26.8.$platform" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  chmod -R u+w "$root"
  chmod -R +x "$root/bin" "$root/pkg/tool"
  find "$root/src" -name _go.mod -execdir cp {} go.mod \;
  PATH="$root/bin:$PATH"
}
