/* mingw-w64's wdm.h on ARM64. It does not support ARM64, and treats an unknown architecture as
 * 32-bit: it would pack IO_STACK_LOCATION. Its definitions for `_AMD64_` apply to every 64-bit
 * Windows, as far as this driver uses them; driver/nt/src/layout.rs asserts it. */
#pragma once

/* These headers must be compiled for ARM64. */
#include <excpt.h>
#include <ntdef.h>
#include <ntstatus.h>
#include <ntiologc.h>
#include <guiddef.h>
#include <string.h>
#include <intrin.h>

/* An intrinsic of Microsoft's compiler, which an inline function of wdm.h calls. */
unsigned __int64 __umulh(unsigned __int64, unsigned __int64);

#define _AMD64_
#include_next <wdm.h>
#undef _AMD64_
