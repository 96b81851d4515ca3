#!/usr/bin/env bash
# Makes a driver of each kind in a separate workspace, and tests, builds and checks it as its author would.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Reuses what was built for this repository.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
interlock=$CARGO_TARGET_DIR/debug/cargo-interlock

cargo build --quiet --package cargo-interlock
lock=$PWD/Cargo.lock
# `new` makes nothing in this repository.
made=$(mktemp --directory)
trap 'rm -rf "$made"' EXIT
for kind in function filter control; do
    cd "$made"
    "$interlock" interlock new "my_$kind" --kind "$kind"
    cp "$lock" "my_$kind/"
    cd "my_$kind"
    cargo fmt --all --check
    cargo test --quiet
    "$interlock" interlock check
done
