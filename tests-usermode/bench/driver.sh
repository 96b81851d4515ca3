#!/usr/bin/env bash
# Measures interlock.sys and its twin in C on the model kernel: `cargo make bench-driver`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=${CARGO_TARGET_DIR:-target}
tests-usermode/twin/build.sh
cargo run --quiet --profile harness --package interlock-bench -- driver \
    "$target/interlock/interlock.sys" "$target/twin/twin.sys" --page docs/bench-driver.md
