#!/usr/bin/env bash
# Installs the Debian packages that build and run the real binaries, where any of them is missing.
set -euo pipefail

packages=(
    build-essential                  # a linker for build scripts
    rustc-web rust-web-src           # a compiler, with the standard library's source
    rust-web-clippy                  # the clippy that goes with it
    lld-19 llvm-19 libclang-19-dev   # the driver's linker, llvm-dlltool, bindgen's libclang
    gcc-mingw-w64-x86-64-win32       # the harness' linker
    mingw-w64-x86-64-dev             # the headers
    wine64
    osslsigncode openssl             # signatures and their certificate
    nodejs                           # runs the WinDbg script in its test
)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [[ $status == 'install ok installed' ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "cross/packages.sh: this is not Debian 12; install the equivalents of: ${missing[*]}" >&2
    exit 1
fi
as_root=(env DEBIAN_FRONTEND=noninteractive)
if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null || {
        echo "cross/packages.sh: run it as root, or install: ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo "${as_root[@]}")
fi

echo "Installing ${missing[*]}"
if ! { "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" apt-get install -qq --yes --no-install-recommends "${missing[@]}"; }; then
    echo "cross/packages.sh: apt-get cannot install them; they are all Debian 12's own, some of them" \
        "security updates" >&2
    exit 1
fi
