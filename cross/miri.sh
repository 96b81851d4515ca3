#!/usr/bin/env bash
# Runs `nt` and `wdm` under Miri: Stacked Borrows, then Tree Borrows, each with several seeds and weak memory.
# With --if-installed, a missing nightly toolchain with Miri is not an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# MIRI_SEEDS is a range of seeds. Each seed gives another schedule and other values of weak loads.
seeds="${MIRI_SEEDS:-0..8}"

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    how='install it with `rustup toolchain install nightly --component miri,rust-src`'
    if [ "${1:-}" = --if-installed ]; then
        printf '\n*** NOT RUN: MIRI ***\n*** nt and wdm were not checked for undefined behaviour: there is no Miri; %s\n\n' "$how" >&2
        exit 0
    fi
    printf 'cross/miri.sh: there is no nightly toolchain with Miri; %s\n' "$how" >&2
    exit 1
fi

run() {
    echo "miri: $1"
    MIRIFLAGS="-Zmiri-many-seeds=$seeds -Zmiri-strict-provenance $2 ${MIRIFLAGS:-}" \
        cargo +nightly miri test --quiet --package interlock-nt --package interlock-wdm --lib --test lists_and_irps --test miri
}

run 'Stacked Borrows' ''
run 'Tree Borrows' -Zmiri-tree-borrows
