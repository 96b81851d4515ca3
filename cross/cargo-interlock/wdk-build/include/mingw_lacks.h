/* The declarations of wdm.h that a driver for Windows 10 2004 needs and mingw-w64's lacks. Included
 * after ntddk.h. */
#pragma once

typedef ULONG64 POOL_FLAGS;

/* wdk-sys defines the pool flags as constants. */
PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);

/* PAGED_CODE in wdk-sys calls this routine. */
KIRQL NTAPI KeGetCurrentIrql(VOID);
