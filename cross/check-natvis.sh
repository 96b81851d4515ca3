#!/usr/bin/env bash
# Checks that the driver's PDB contains the NatVis files, and every type and field that they name. Also builds the driver with the
# feature lock-debug, and checks its PDB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
natvis=(driver/wdm/wdm.natvis driver/logic/interlock.natvis)

cargo interlock check-natvis "$target/interlock/interlock.pdb" "${natvis[@]}"
cargo interlock cargo build --package interlock-sys -- --quiet --release --features wdm/lock-debug
cargo interlock check-natvis --lock-debug "$target/cross/x86_64-pc-windows-msvc/release/interlock_sys.pdb" "${natvis[@]}"
