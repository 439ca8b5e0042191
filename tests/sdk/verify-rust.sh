# Does the example for Rust accept a good access token and refuse an expired, a tampered and somebody else's?
source lib.sh
need_rust
cargo clippy --version >/dev/null 2>&1 || run rustup component add clippy
export RUSTC_WORKSPACE_WRAPPER=clippy-driver RUSTFLAGS='-D warnings' CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$CACHE
cargo build --locked -j2 --manifest-path "$root/examples/verify/rust/Cargo.toml"
export ISSUER=$PHONEPASS_URL
verifies "$CACHE/debug/verify"
