#!/usr/bin/env bash
# Packages cargo-interlock and the crates that a driver depends on, as for the crate registry, and builds each from its package. Cargo
# does not build a package again that has the same name, version and folder, so each run has a new folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
packages=$(mktemp -d "$target/packages.XXXXXX")
trap 'rm -rf "$packages"' EXIT
cargo package --quiet --allow-dirty --target-dir "$packages" --package ctl-code --package interlock-nt --package interlock-wdm \
    --package ntmodel --package cargo-interlock
