#!/usr/bin/env bash
# Runs the tests with each installed Rust compiler other than the default one, which `cargo make test` uses, and prints their versions:
# rustup's toolchains from the version in Cargo.toml on, and Debian's compiler if it is older or newer than all of these. Tests that
# read the names of functions also run with the v0 mangling of symbols: with a nightly compiler, or else with the default one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
seen=("$(rustc --version)")

say() { printf '==> %s\n' "$*"; }

# is_between VERSION: whether an older and a newer compiler than this one were tested.
is_between() {
    local version ordered
    version=$(cut -d ' ' -f 2 <<<"$1")
    ordered=$(printf '%s\n' "$version" "${seen[@]#rustc }" | cut -d ' ' -f 1 | sort --version-sort)
    [[ $(head -n 1 <<<"$ordered") != "$version" && $(tail -n 1 <<<"$ordered") != "$version" ]]
}

# is_new NAME VERSION: whether this version is supported and has not been tested.
is_new() {
    local version
    version=$(cut -d ' ' -f 2 <<<"$2")
    if [[ $(printf '%s\n' "$least" "${version%%-*}" | sort --version-sort | head -n 1) != "$least" ]]; then
        say "$1 is older than Rust $least, which Cargo.toml requires: $2"
        return 1
    fi
    for other in "${seen[@]}"; do
        [[ $other != "$2" ]] || return 1
    done
    seen+=("$2")
    say "tests with $1: $2"
}

# Each compiler has a separate target directory, which is removed after its tests, since several of them would fill a small disk.
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(mktemp -d "${CARGO_TARGET_DIR:-target}/toolchain.XXXXXX")
trap 'rm -rf "$target"' EXIT

# The crates that other drivers and their tests depend on. The harness and the build tools are built with the default compiler.
tests=(cargo test --quiet --target-dir "$target" --package interlock-nt --package interlock-wdm --package interlock
    --package interlock-abi --package ntmodel --package interlock-explore)
if command -v rustup >/dev/null; then
    for toolchain in $(rustup toolchain list | cut -d ' ' -f 1); do
        version=$(rustup run "$toolchain" rustc --version)
        ! is_new "$toolchain" "$version" || rustup run "$toolchain" "${tests[@]}"
        rm -rf "$target"
    done
fi
if [[ -x /usr/bin/rustc && -x /usr/bin/rustdoc ]]; then
    version=$(/usr/bin/rustc --version)
    if is_between "$version"; then
        say "not tested with Debian's compiler, since an older and a newer one were: $version"
    elif is_new /usr/bin/rustc "$version"; then
        RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc "${tests[@]}"
    fi
fi

if [[ ${seen[*]} != *nightly* ]]; then
    say "tests of function names with v0 mangling, the default of nightly compilers: ${seen[0]}"
    RUSTFLAGS=-Csymbol-mangling-version=v0 \
        cargo test --quiet --target-dir "$target" --package ntmodel --package interlock-explore --test callers --test fault_injection
fi

say 'the tests pass with'
printf '      %s\n' "${seen[@]}"
if [[ " ${seen[*]}" != *" rustc $least."* ]]; then
    say "NOT TESTED with Rust $least, the oldest that Cargo.toml allows: \`rustup toolchain install $least\` installs it"
fi
