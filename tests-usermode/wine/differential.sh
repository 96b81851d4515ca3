#!/usr/bin/env bash
# Runs the same random sequences on the model kernel and, with the installed driver, under Wine, and compares the outcome of each step:
#   differential.sh [COUNT [SEED]]     COUNT sequences, starting with SEED [default: 100, starting with a random seed]
# The transcripts are in target/wine. Exit code: 0 if they are the same, 1 if they differ, 2 if a run could not start.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=$PWD/target
count=${1:-100}
seed=${2:-$((SRANDOM % 1000000))}
model=target/wine/model.transcript
wine=target/wine/wine.transcript

mkdir -p target/wine
rm -f "$model" "$wine"
cargo build --quiet --package interlock-harness
target/debug/harness sequence --kernel model --seed "$seed" --count "$count" --output "$model"
# A sequence with an unexpected outcome ends the run. The transcripts up to this sequence can still be compared.
status=0
tests-usermode/wine/run.sh sequence --seed "$seed" --count "$count" --output "$wine" || status=$?
[[ -e $wine ]] || exit "$status"
if ! diff <(tr -d '\r' < "$wine") "$model" > target/wine/transcripts.diff; then
    echo "FAILED: Wine (<) and the model (>) differ, from seed $seed on:"
    head -n 20 target/wine/transcripts.diff
    exit 1
fi
((status == 0)) || exit "$status"
echo "the same on both: $count sequences from seed $seed on, $(grep -c '^[{\"]' "$model") steps"
