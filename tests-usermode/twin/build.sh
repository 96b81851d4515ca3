#!/usr/bin/env bash
# Builds the C twin of interlock.sys into target/twin/twin.sys, with DWARF debug information (names of routines, source lines).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
out=${CARGO_TARGET_DIR:-target}/twin
cargo interlock doctor > /dev/null
mkdir -p "$out"

version=$(sed -nE '/^\[workspace.package\]/,/^$/ s/^version = "([0-9.]+)"/\1/p' Cargo.toml)
IFS=. read -r major minor patch <<< "$version"

gcc=(x86_64-w64-mingw32-gcc-win32 -std=gnu11 -O2 -g -ffreestanding -fno-ident -Wall -Wextra -Werror
    "-ffile-prefix-map=$PWD=interlock" -Wno-multichar -Wno-unused-value
    "-DVERSION_MAJOR=$major" "-DVERSION_MINOR=$minor" "-DVERSION_PATCH=$patch"
    -D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A000000
    -isystem /usr/x86_64-w64-mingw32/include/ddk)
objects=()
for source in "$here"/*.c; do
    object=$out/$(basename "$source" .c).o
    "${gcc[@]}" -c -o "$object" "$source"
    objects+=("$object")
done

# The import libraries contain the same names as those of interlock.sys.
imports=cross/cargo-interlock/imports
library() {
    { printf 'LIBRARY %s\nEXPORTS\n' "$1"; cat; } > "$out/$2.def"
    llvm-dlltool-19 -m i386:x86-64 -d "$out/$2.def" -l "$out/$2.lib"
}
{ awk '$2 == "ntoskrnl.exe" { print $1 }' "$imports/wdk.txt"; grep -v '^#' "$imports/more.txt"; } | library ntoskrnl.exe ntoskrnl
awk '$2 == "HAL.dll" { print $1 }' "$imports/wdk.txt" | library HAL.dll hal

# The same arguments as for interlock.sys. The sections are nonpaged.
lld-link-19 "/out:$out/twin.sys" /driver /subsystem:native,10.00 /osversion:10.0 /entry:DriverEntry /nodefaultlib \
    /nxcompat /dynamicbase /integritycheck /manifest:no /opt:ref,icf /release /brepro \
    /section:.text,ERP /section:.rdata,RP /section:.pdata,RP \
    /debug:dwarf \
    "${objects[@]}" "$out/ntoskrnl.lib" "$out/hal.lib"
