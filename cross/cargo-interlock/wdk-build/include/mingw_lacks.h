/* What a driver for Windows 10 2004 needs of wdm.h and mingw-w64's lacks. Included after ntddk.h. */
#pragma once

typedef ULONG64 POOL_FLAGS;

/* The pool flags themselves are constants of wdk-sys' own. */
PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);

/* wdk-sys' PAGED_CODE calls it. */
KIRQL NTAPI KeGetCurrentIrql(VOID);
