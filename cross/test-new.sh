#!/usr/bin/env bash
# Makes a driver in a workspace of its own, and tests, builds and checks it as its author would.
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
cd "$made"
"$interlock" interlock new my_driver
cp "$lock" my_driver/
cd my_driver
cargo fmt --all --check
cargo test --quiet
"$interlock" interlock check
