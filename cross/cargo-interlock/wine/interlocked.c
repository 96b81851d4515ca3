/* Operations that are atomic under a spin lock of the caller, at any IRQL. The lists and numbers
 * have the layouts of wdm.h. */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"
#include "spinlock.h"

PLIST_ENTRY NTAPI ExInterlockedInsertHeadList(PLIST_ENTRY head, PLIST_ENTRY entry, PKSPIN_LOCK lock)
{
    PLIST_ENTRY first;

    spin_lock_enter(lock, CALLER);
    first = head->Flink;
    InsertHeadList(head, entry);
    spin_lock_leave(lock);
    return first == head ? NULL : first;
}

PLIST_ENTRY NTAPI ExInterlockedInsertTailList(PLIST_ENTRY head, PLIST_ENTRY entry, PKSPIN_LOCK lock)
{
    PLIST_ENTRY last;

    spin_lock_enter(lock, CALLER);
    last = head->Blink;
    InsertTailList(head, entry);
    spin_lock_leave(lock);
    return last == head ? NULL : last;
}

PLIST_ENTRY NTAPI ExInterlockedRemoveHeadList(PLIST_ENTRY head, PKSPIN_LOCK lock)
{
    PLIST_ENTRY first;

    spin_lock_enter(lock, CALLER);
    first = IsListEmpty(head) ? NULL : RemoveHeadList(head);
    spin_lock_leave(lock);
    return first;
}

PSINGLE_LIST_ENTRY NTAPI ExInterlockedPushEntryList(PSINGLE_LIST_ENTRY head, PSINGLE_LIST_ENTRY entry, PKSPIN_LOCK lock)
{
    PSINGLE_LIST_ENTRY first;

    spin_lock_enter(lock, CALLER);
    first = head->Next;
    PushEntryList(head, entry);
    spin_lock_leave(lock);
    return first;
}

PSINGLE_LIST_ENTRY NTAPI ExInterlockedPopEntryList(PSINGLE_LIST_ENTRY head, PKSPIN_LOCK lock)
{
    PSINGLE_LIST_ENTRY first;

    spin_lock_enter(lock, CALLER);
    first = PopEntryList(head);
    spin_lock_leave(lock);
    return first;
}

ULONG NTAPI ExInterlockedAddUlong(PULONG addend, ULONG increment, PKSPIN_LOCK lock)
{
    ULONG original;

    spin_lock_enter(lock, CALLER);
    original = *addend;
    *addend = original + increment;
    spin_lock_leave(lock);
    return original;
}

LARGE_INTEGER NTAPI ExInterlockedAddLargeInteger(PLARGE_INTEGER addend, LARGE_INTEGER increment, PKSPIN_LOCK lock)
{
    LARGE_INTEGER original;

    spin_lock_enter(lock, CALLER);
    original = *addend;
    addend->QuadPart = (ULONG64)original.QuadPart + (ULONG64)increment.QuadPart;
    spin_lock_leave(lock);
    return original;
}
