# Does the client that progenitor makes compile without a warning, of clippy neither, and does it work?
source lib.sh
need_rust
cargo clippy --version >/dev/null 2>&1 || run rustup component add clippy
cp -R rust/. "$WORK"
cp "$OPENAPI" "$WORK/phonepass.json"
cd "$WORK"
# One build for the lints and for the test.
RUSTC_WORKSPACE_WRAPPER=clippy-driver CARGO_TARGET_DIR=$CACHE cargo test --locked -j2 --test sign_in
