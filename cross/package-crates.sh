#!/usr/bin/env bash
# Packages the crates that a driver depends on and cargo-interlock, as for the crate registry, and builds each from its package. Cargo
# takes a package of the same name, version and folder for one that it has already built, so the folder is a new one each time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
packages=$(mktemp -d "$target/packages.XXXXXX")
trap 'rm -rf "$packages"' EXIT
cargo package --quiet --allow-dirty --target-dir "$packages" --package ctl-code --package interlock-nt --package interlock-wdm \
    --package ntmodel --package cargo-interlock
