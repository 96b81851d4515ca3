#!/usr/bin/env bash
# Compiles each block of C in the chapter "From C", in a function that declares what the block uses. "..." stands for code that is left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

compile() {
    x86_64-w64-mingw32-gcc-win32 -std=gnu11 -fsyntax-only -Wall -Wextra -Werror -Wno-unused -D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A000000 \
        -isystem /usr/x86_64-w64-mingw32/include/ddk -x c -
}

blocks=$(grep -c '^```c$' docs/book/src/from_c.md)
((blocks > 0))
for ((block = 1; block <= blocks; block++)); do
    {
        cat << 'END'
#include <ntddk.h>
typedef struct { ULONG First, Second; } REQUEST, *PREQUEST;
typedef struct { ULONG Sum; } REPLY;
typedef struct { KSPIN_LOCK Lock; ULONG64 Reads, Bytes; KTIMER Timer; KDPC Dpc; PDEVICE_OBJECT NextLowerDriver; } EXTENSION;
KDEFERRED_ROUTINE PollDpc;
NTSTATUS Block(EXTENSION *extension, PIRP Irp, PIO_STACK_LOCATION stack, ULONG length)
{
    KIRQL irql;
    LARGE_INTEGER due;
    REQUEST request;
    NTSTATUS status = STATUS_SUCCESS;
END
        awk -v block="$block" '/^```c$/ { inside = ++count == block; next } /^```$/ { inside = 0 } inside && $1 != "..."' docs/book/src/from_c.md
        printf '    return status;\n}\n'
    } | compile
done
echo "$blocks blocks of C compile"
