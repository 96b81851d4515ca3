#!/usr/bin/env bash
# Cargo for harness.exe on a host that is not Windows: `cross/harness.sh check`. `build` also puts it into target/interlock/.
# It is for x64 alone: Debian has no C runtime of ARM64 Windows to link it with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS # They would replace the flags of the configuration.
# It must be small, as it is part of the package; on the host, where speed matters, this does not apply.
RUSTC_BOOTSTRAP=1 cargo "$1" --package interlock-harness --profile harness --target-dir "$target/cross" \
    --target x86_64-win7-windows-gnu -Z build-std=std,panic_unwind --config cross/cargo-interlock/cross.toml \
    --config 'profile.harness.trim-paths = "all"' --config 'profile.harness.opt-level = "z"' \
    --config 'profile.harness.codegen-units = 1' "${@:2}"
if [[ $1 == build ]]; then
    mkdir -p "$target/interlock"
    cp "$target/cross/x86_64-win7-windows-gnu/harness/harness.exe" "$target/interlock/"
fi
