#!/usr/bin/env bash
# Builds the wrappers of wdm and the corresponding functions in C, and compares their instructions: `cargo make bench-code`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}
out=$target/bench
mkdir -p "$out"

cargo interlock cargo build --package interlock-wrappers -- --release
tests-usermode/twin/build.sh
x86_64-w64-mingw32-gcc-win32 -std=gnu11 -O2 -ffreestanding -Wall -Wextra -Werror -Wno-multichar -Wno-unused-value \
    -D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A000000 -isystem /usr/x86_64-w64-mingw32/include/ddk \
    -c -o "$out/wrappers.o" "$here/wrappers/wrappers.c"
exports=()
for function in $(sed -nE 's/^pub fn (\w+).*/\1/p' "$here/wrappers/src/lib.rs"); do
    exports+=("/export:$function")
done
lld-link-19 "/out:$out/wrappers.sys" /dll /driver /subsystem:native,10.00 /entry:DriverEntry /nodefaultlib /opt:ref,icf \
    "${exports[@]}" "$out/wrappers.o" "$target/twin/ntoskrnl.lib" "$target/twin/hal.lib"
cargo run --quiet --package interlock-bench -- code \
    "$target/cross/x86_64-pc-windows-msvc/release/interlock_wrappers.dll" "$out/wrappers.sys" --page docs/bench-code.md
