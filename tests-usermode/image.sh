#!/usr/bin/env bash
# Loads the image of the driver into the model kernel:
#   image.sh [SECONDS]     every scenario with 1, 2, 4 and 8 processors, random sequences, whose outcome must be that of the
#                          driver's logic, failed allocations, and the given number of seconds of stress [default: 60]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
driver=$CARGO_TARGET_DIR/interlock/interlock.sys
harness=$CARGO_TARGET_DIR/harness/harness
sequences=(--seed 1 --count 500)

cargo build --quiet --profile harness --package interlock-harness
for processors in 1 2 4 8; do
    echo "==> every scenario, processors: $processors"
    "$harness" run --driver "$driver" --processors "$processors"
done

echo "==> the same sequences as the driver's logic"
mkdir -p "$CARGO_TARGET_DIR/image"
"$harness" sequence --kernel model "${sequences[@]}" --output "$CARGO_TARGET_DIR/image/logic.transcript"
"$harness" sequence --driver "$driver" "${sequences[@]}" --output "$CARGO_TARGET_DIR/image/image.transcript"
diff "$CARGO_TARGET_DIR/image/logic.transcript" "$CARGO_TARGET_DIR/image/image.transcript"

echo "==> failed allocations"
INTERLOCK_DRIVER=$driver cargo test --quiet --package interlock-explore --test fault_injection

echo "==> stress"
"$harness" stress --driver "$driver" --seconds "${1:-60}" --threads 8 --pending 1000 --processors 8
