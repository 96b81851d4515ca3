#!/usr/bin/env bash
# Runs the samples' tests with 20,000 schedules of each race; builds and checks the .sys of each sample, runs the tests with these
# images on the model kernel, and loads each under Wine, where `harness sample` checks what it does. Wine adds no filter to a device,
# so there the filter is only loaded and unloaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
built=$CARGO_TARGET_DIR/interlock
samples=(cancel control detect event filter pipe ramdisk recorder startio)

tests=()
for sample in "${samples[@]}"; do
    cargo interlock check --package "sample_$sample" | grep -v '^ok  '
    tests+=(--package "interlock-sample-$sample")
done

echo "==> the samples' tests, with 10,000 schedules of each of two searches"
INTERLOCK_SCHEDULES=10000 cargo test --quiet "${tests[@]}" --test model

echo "==> the samples' tests with their images"
INTERLOCK_BUILT=$built cargo test --quiet "${tests[@]}" --test model

for sample in "${samples[@]}"; do
    command=("$built/harness.exe" sample "$sample")
    [[ $sample != filter ]] || command=()
    echo "==> sample_$sample under Wine"
    cargo interlock wine --package "sample_$sample" -- "${command[@]}"
done
