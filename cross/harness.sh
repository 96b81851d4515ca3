#!/usr/bin/env bash
# Runs a Cargo command, such as `check`, for harness.exe on a host other than Windows. `build` also copies it to target/interlock/.
# Only x64 is supported, since Debian has no C runtime for Windows on ARM64.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS # These would replace the flags of the configuration.
# Optimised for size, since harness.exe is part of the driver package.
RUSTC_BOOTSTRAP=1 cargo "$1" --package interlock-harness --profile harness --target-dir "$target/cross" \
    --target x86_64-win7-windows-gnu -Z build-std=std,panic_unwind \
    -Z build-std-features=backtrace,optimize_for_size,panic-unwind --config cross/cargo-interlock/cross.toml \
    --config 'profile.harness.trim-paths = "all"' --config 'profile.harness.opt-level = "z"' \
    --config 'profile.harness.codegen-units = 1' --config 'profile.harness.lto = "fat"' "${@:2}"
if [[ $1 == build ]]; then
    mkdir -p "$target/interlock"
    cp "$target/cross/x86_64-win7-windows-gnu/harness/harness.exe" "$target/interlock/"
fi
