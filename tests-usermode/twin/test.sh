#!/usr/bin/env bash
# Builds the twin, and runs it on the model kernel, with every scenario, a load and random sequences, and under Wine. What Wine
# runs can be called with fewer repetitions: test.sh [-- ARGUMENTS for `harness run` under Wine].
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
driver=${CARGO_TARGET_DIR:-target}/twin/twin.sys

tests-usermode/twin/build.sh
on_model() {
    cargo run --quiet --profile harness -- "$1" --driver "$driver" "${@:2}"
}
for processors in 1 2 4 8; do
    on_model run --processors "$processors"
done
on_model stress --seconds 10 --threads 8 --pending 1000 --processors 8
on_model sequence --count 1000 --output "${driver%/*}/transcript"
tests-usermode/wine/run.sh --driver "$driver" "$@"
