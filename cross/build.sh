#!/usr/bin/env bash
# Builds what runs on Windows, on a host that is not Windows, into target/interlock/.
#
# usage: cross/build.sh driver|harness|all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cross/packages.sh
target=${CARGO_TARGET_DIR:-target}
out=$target/interlock

interlock_cross() {
    cargo run --quiet --package interlock-cross -- "$@"
}

driver() {
    local built=$target/cross/x86_64-pc-windows-msvc/release
    cross/cargo build driver --release
    interlock_cross finish-image "$built/interlock_sys.dll" "$out/interlock.sys"
    cp "$built/interlock_sys.pdb" "$out/interlock.pdb"
    interlock_cross stamp-inf inf/interlock.inx "$out/interlock.inf"
}

harness() {
    cross/cargo build harness --profile harness
    cp "$target/cross/x86_64-win7-windows-gnu/harness/harness.exe" "$out/harness.exe"
}

mkdir -p "$out"
case ${1-} in
driver | harness) "$1" ;;
all)
    driver
    harness
    ;;
*)
    sed -n 's/^# usage/usage/p' cross/build.sh >&2
    exit 2
    ;;
esac
