/* mingw-w64's wdm.h on ARM64. It knows no ARM64, and takes what it does not know for 32-bit: it would pack
 * IO_STACK_LOCATION. What it says where `_AMD64_` is defined holds for every 64-bit Windows, as far as this driver
 * goes; driver/nt/src/layout.rs asserts it. */
#pragma once

/* These shall see that it is ARM64. */
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
