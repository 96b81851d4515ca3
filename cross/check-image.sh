#!/usr/bin/env bash
# Checks the finished driver: what real Windows asks of an image and of an INF, and that no code in it can panic.
#
# usage: cross/check-image.sh [--arch x64|arm64]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=arch.sh
source cross/arch.sh
parse_arch "$@" || {
    sed -n 's/^# usage/usage/p' cross/check-image.sh >&2
    exit 2
}

cargo interlock-cross check-image --arch "$inf_arch" "$out/interlock.sys"
cargo interlock-cross check-inf --arch "$inf_arch" "$out/interlock.inf"

# The linker keeps the panic handler only if something may call it.
functions=$(llvm-pdbutil-19 dump --symbols "$out/interlock.pdb" | grep -E 'S_[GL]PROC32')
if grep panic <<<"$functions"; then
    echo 'FAILED: the image has code that panics, which is a bug check'
    exit 1
fi
echo "ok      no panic ($(wc -l <<<"$functions") functions, and no panic handler among them)"
