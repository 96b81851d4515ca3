#!/usr/bin/env bash
# Makes a driver of each kind in a workspace of its own, and tests, builds and checks it as its author would.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# What is built for this repository is not built again.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
made=$CARGO_TARGET_DIR/made
interlock=$CARGO_TARGET_DIR/debug/cargo-interlock

cargo build --quiet --package cargo-interlock
rm -rf "$made"
mkdir -p "$made"
lock=$PWD/Cargo.lock
for kind in function filter control; do
    cd "$made"
    "$interlock" interlock new "my_$kind" --kind "$kind"
    cp "$lock" "my_$kind/"
    cd "my_$kind"
    cargo fmt --all --check
    cargo test --quiet
    "$interlock" interlock check
done
