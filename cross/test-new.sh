#!/usr/bin/env bash
# Makes a driver of each kind in a separate workspace, and tests, builds and checks it as its author would.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Reuses what was built for this repository.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
interlock=$CARGO_TARGET_DIR/debug/cargo-interlock

cargo build --quiet --package cargo-interlock
lock=$PWD/Cargo.lock
# `new` makes nothing in this repository.
made=$(mktemp --directory)
trap 'rm -rf "$made"' EXIT
for kind in function filter control; do
    cd "$made"
    "$interlock" interlock new "my_$kind" --kind "$kind"
    cp "$lock" "my_$kind/"
    cd "my_$kind"
    cargo fmt --all --check
    cargo test --quiet
    "$interlock" interlock check
done

# Tests what the templates do not contain: a path with a space, a workspace in a subfolder of its repository, a package with a hyphen,
# features, a build script, a crate outside the workspace, and a crate of a registry.
mkdir -p "$made/a repository/numbers/src"
cd "$made/a repository"
"$interlock" interlock new gate
cat > numbers/Cargo.toml << 'END'
[package]
name = "numbers"
edition = "2024"

[dependencies]
smallvec = "1"
END
cat > numbers/build.rs << 'END'
fn main() {
    let numbers = std::fs::read_to_string("numbers.txt").unwrap();
    std::fs::write(std::env::var("OUT_DIR").unwrap() + "/numbers.rs", numbers).unwrap();
}
END
echo '[1, 2]' > numbers/numbers.txt
cat > numbers/src/lib.rs << 'END'
#![no_std]
pub fn count() -> usize {
    smallvec::SmallVec::from(include!(concat!(env!("OUT_DIR"), "/numbers.rs"))).len()
}
END
cp "$lock" gate/
cd gate
mv driver/gate.inx driver/the-gate.inx
sed -i 's/\bgate\b/the-gate/' driver/the-gate.inx
sed -i 's/gate\.pdb/the-gate.pdb/' driver/build.rs
sed -i 's/^name = "gate"/name = "the-gate"/; $ a\\n[features]\npanics = ["gate-logic/panics"]' driver/Cargo.toml
sed -i 's/^wdm.workspace.*/&\nnumbers = { path = "..\/..\/numbers" }/; $ a\\n[features]\npanics = []' logic/Cargo.toml
sed -i 's/^\( *\)let cancelled = Shared/\1assert!(!cfg!(feature = "panics") || numbers::count() == core::hint::black_box(2));\n&/' logic/src/lib.rs
cargo test --quiet
"$interlock" interlock check
"$interlock" interlock package --out package
if "$interlock" interlock check --features panics > checked; then
    echo 'test-new: the feature is not built' >&2
    exit 1
fi
grep '^FAILED *no panic' checked
