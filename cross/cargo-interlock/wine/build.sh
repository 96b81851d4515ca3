#!/usr/bin/env bash
# Builds the PE that completes Wine's ntoskrnl.exe, and the copy of Wine's that it forwards to:
#   build.sh OUT        writes OUT/ntoskrnl.exe and OUT/ntosbase.dll
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:?"usage: build.sh OUT"}
# shellcheck source=wine.sh
source "$here/wine.sh"

wines=$(wine_pe ntoskrnl.exe)
mkdir -p "$out"

# The loader treats a PE with this signature as a builtin of Wine, and would not load it under another name.
cp "$wines" "$out/ntosbase.dll"
chmod u+w "$out/ntosbase.dll"
printf '%32s' '' | dd of="$out/ntosbase.dll" bs=1 seek=64 conv=notrunc status=none

# Every export of Wine's becomes a forwarder, except those in routines.h.
sed -nE 's/^(SUPPLIED|WRAPPED)\((\w+).*/\2/p' "$here/routines.h" > "$out/ours.txt"
llvm-readobj-19 --coff-exports "$wines" | awk '$1 == "Name:" { print $2 }' > "$out/wines.txt"
awk 'BEGIN { print "LIBRARY ntoskrnl.exe\nEXPORTS" }
     FILENAME == ARGV[1] { ours[$1] = 1; print $1; next }
     !($1 in ours) { print $1 " = ntosbase." $1 }' "$out/ours.txt" "$out/wines.txt" > "$out/ntoskrnl.def"

# The routines in this folder call those of Wine by names with the prefix wine_.
{
    printf 'LIBRARY ntosbase.dll\nEXPORTS\n'
    sed 's/.*/wine_& == &/' "$out/wines.txt"
} > "$out/ntosbase.def"
x86_64-w64-mingw32-dlltool -d "$out/ntosbase.def" -l "$out/libntosbase.a"

gcc=(x86_64-w64-mingw32-gcc-win32 -std=gnu11 -O2 -Wall -Wextra -Werror)
objects=()
# compile FILE FLAG...
compile() {
    "${gcc[@]}" "${@:2}" -c -o "$out/$1.o" "$here/$1.c"
    objects+=("$out/$1.o")
}
# The DDK's headers cannot be included together with windows.h.
for file in cancel cleanup devqueue interlocked irp object power rundown workitem zone; do
    compile "$file" -isystem /usr/x86_64-w64-mingw32/include/ddk
done
for file in dpc host irql lookaside ntoskrnl pool spinlock timer; do
    compile "$file" -D__USE_MINGW_ANSI_STDIO=1
done
"${gcc[@]}" -shared -o "$out/ntoskrnl.exe" "${objects[@]}" "$out/ntoskrnl.def" "$out/libntosbase.a" -lntdll
