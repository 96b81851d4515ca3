/*
 * The DDK's headers, and declarations that mingw-w64's headers lack. Its wdm.h makes some routines inline functions that write CR8 or a
 * lock by themselves, which ntoskrnl.exe has exported since Windows 8; the twin calls the exports, as interlock.sys
 * does, so that both make the same calls.
 */
#pragma once

#define KeInitializeSpinLock InlineKeInitializeSpinLock
#define KeLowerIrql InlineKeLowerIrql
#define KfRaiseIrql InlineKfRaiseIrql
#include <ntddk.h>
#undef KeInitializeSpinLock
#undef KeLowerIrql
#undef KfRaiseIrql

NTKERNELAPI VOID NTAPI KeInitializeSpinLock(PKSPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI KeLowerIrql(KIRQL NewIrql);
NTKERNELAPI KIRQL NTAPI KfRaiseIrql(KIRQL NewIrql);

#define POOL_FLAG_NON_PAGED 0x40ULL
NTKERNELAPI PVOID NTAPI ExAllocatePool2(ULONG64 Flags, SIZE_T NumberOfBytes, ULONG Tag);

NTSYSAPI NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE Handle, BOOLEAN Alertable, PLARGE_INTEGER Timeout);
NTKERNELAPI PKDEVICE_QUEUE_ENTRY NTAPI KeRemoveByKeyDeviceQueueIfBusy(PKDEVICE_QUEUE DeviceQueue, ULONG SortKey);

C_ASSERT(sizeof(KDEVICE_QUEUE) == 40);
C_ASSERT(sizeof(KDEVICE_QUEUE_ENTRY) == 24);

/* As in the WDK: a plain read that the compiler neither omits nor repeats. */
#define ReadNoFence(Source) (*(volatile const LONG *)(Source))
