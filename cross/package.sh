#!/usr/bin/env bash
# Makes the driver package in target/package/, with the harness in it, and checks it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
stripped=$target/interlock/stripped

cross/harness.sh build
mkdir -p "$stripped"
# Moves the symbols of the harness to a separate file, which its section .gnu_debuglink names.
llvm-objcopy-19 --only-keep-debug "$target/interlock/harness.exe" "$stripped/harness.debug"
llvm-objcopy-19 --strip-all --add-gnu-debuglink="$stripped/harness.debug" "$target/interlock/harness.exe" "$stripped/harness.exe"
cargo interlock package --package interlock-sys --out "$target/package" \
    --add "$stripped/harness.exe" --add "$stripped/harness.debug"
size=$(stat -c %s "$target/package/harness.exe")
((size < 4000000)) || {
    echo "harness.exe has $size bytes, not less than 4 MB" >&2
    exit 1
}
