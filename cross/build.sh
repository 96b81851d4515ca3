#!/usr/bin/env bash
# Builds what runs on Windows, on a host that is not Windows, into target/interlock/, or for ARM64 into
# target/interlock-arm64/. The harness is built for x64 alone: Debian has no C runtime of ARM64 Windows to link it with.
#
# usage: cross/build.sh driver|harness|all [--arch x64|arm64]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=arch.sh
source cross/arch.sh

usage() {
    sed -n 's/^# usage/usage/p' cross/build.sh >&2
    exit 2
}

[[ $# -gt 0 ]] || usage
what=$1
parse_arch "${@:2}" || usage
target=${CARGO_TARGET_DIR:-target}

driver() {
    local built=$target/cross/$triple/release
    cross/cargo build "$driver" --release
    cargo interlock-cross finish-image "$built/interlock_sys.dll" "$out/interlock.sys"
    cp "$built/interlock_sys.pdb" "$out/interlock.pdb"
    cargo interlock-cross stamp-inf --arch "$inf_arch" inf/interlock.inx "$out/interlock.inf"
}

harness() {
    if [[ $arch != x64 ]]; then
        echo 'cross/build.sh: harness.exe is built for x64 alone here' >&2
        return 1
    fi
    cross/cargo build harness --profile harness
    cp "$target/cross/x86_64-win7-windows-gnu/harness/harness.exe" "$out/harness.exe"
}

case $what in
driver | harness | all) ;;
*) usage ;;
esac
cross/packages.sh
mkdir -p "$out"
if [[ $what == all ]]; then
    driver
    [[ $arch != x64 ]] || harness
else
    "$what"
fi
