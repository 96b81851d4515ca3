/*
 * Device queues. An insertion into an idle queue makes it busy: the entry is not queued, and the
 * caller starts it. A removal from an empty queue makes it idle.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"
#include "spinlock.h"

#define IO_TYPE_DEVICE_QUEUE 20 /* as in ntifs.h */

static void enter(PKDEVICE_QUEUE queue, const char *routine, const void *caller)
{
    int irql = thread_get().irql;

    if (irql != DISPATCH_LEVEL) violation(caller, "%s at IRQL %d", routine, irql);
    spin_lock_enter(&queue->Lock, caller);
}

static void leave(PKDEVICE_QUEUE queue)
{
    spin_lock_leave(&queue->Lock);
}

static PKDEVICE_QUEUE_ENTRY entry_at(PLIST_ENTRY link)
{
    return CONTAINING_RECORD(link, KDEVICE_QUEUE_ENTRY, DeviceListEntry);
}

/* Returns the link of the first entry whose key is at least `key`, or the queue's head. */
static PLIST_ENTRY first_from(PKDEVICE_QUEUE queue, ULONG64 key)
{
    PLIST_ENTRY head = &queue->DeviceListHead, link = head->Flink;

    while (link != head && entry_at(link)->SortKey < key) link = link->Flink;
    return link;
}

/* Queues the entry before a link of the queue, if the queue is busy. */
static BOOLEAN insert(PKDEVICE_QUEUE queue, PKDEVICE_QUEUE_ENTRY entry, PLIST_ENTRY before)
{
    entry->Inserted = queue->Busy;
    if (entry->Inserted) InsertTailList(before, &entry->DeviceListEntry);
    queue->Busy = TRUE;
    return entry->Inserted;
}

/* Removes the entry at a link of the queue. If the link is the head of the queue, removes the first
 * entry. */
static PKDEVICE_QUEUE_ENTRY remove_at(PKDEVICE_QUEUE queue, PLIST_ENTRY link)
{
    PKDEVICE_QUEUE_ENTRY entry;

    if (IsListEmpty(&queue->DeviceListHead))
    {
        queue->Busy = FALSE;
        return NULL;
    }
    if (link == &queue->DeviceListHead) link = link->Flink;
    entry = entry_at(link);
    RemoveEntryList(link);
    entry->Inserted = FALSE;
    return entry;
}

static void check_busy(PKDEVICE_QUEUE queue, const char *routine, const void *caller)
{
    if (!queue->Busy) violation(caller, "%s on a device queue that is not busy", routine);
}

void NTAPI KeInitializeDeviceQueue(PKDEVICE_QUEUE queue)
{
    *queue = (KDEVICE_QUEUE){.Type = IO_TYPE_DEVICE_QUEUE, .Size = sizeof(*queue)};
    InitializeListHead(&queue->DeviceListHead);
}

BOOLEAN NTAPI KeInsertDeviceQueue(PKDEVICE_QUEUE queue, PKDEVICE_QUEUE_ENTRY entry)
{
    BOOLEAN inserted;

    enter(queue, __func__, CALLER);
    inserted = insert(queue, entry, &queue->DeviceListHead);
    leave(queue);
    return inserted;
}

BOOLEAN NTAPI KeInsertByKeyDeviceQueue(PKDEVICE_QUEUE queue, PKDEVICE_QUEUE_ENTRY entry, ULONG key)
{
    BOOLEAN inserted;

    enter(queue, __func__, CALLER);
    entry->SortKey = key;
    inserted = insert(queue, entry, first_from(queue, (ULONG64)key + 1));
    leave(queue);
    return inserted;
}

PKDEVICE_QUEUE_ENTRY NTAPI KeRemoveDeviceQueue(PKDEVICE_QUEUE queue)
{
    PKDEVICE_QUEUE_ENTRY entry;

    enter(queue, __func__, CALLER);
    check_busy(queue, __func__, CALLER);
    entry = remove_at(queue, &queue->DeviceListHead);
    leave(queue);
    return entry;
}

PKDEVICE_QUEUE_ENTRY NTAPI KeRemoveByKeyDeviceQueue(PKDEVICE_QUEUE queue, ULONG key)
{
    PKDEVICE_QUEUE_ENTRY entry;

    enter(queue, __func__, CALLER);
    check_busy(queue, __func__, CALLER);
    entry = remove_at(queue, first_from(queue, key));
    leave(queue);
    return entry;
}

PKDEVICE_QUEUE_ENTRY NTAPI KeRemoveByKeyDeviceQueueIfBusy(PKDEVICE_QUEUE queue, ULONG key)
{
    PKDEVICE_QUEUE_ENTRY entry;

    enter(queue, __func__, CALLER);
    entry = remove_at(queue, first_from(queue, key));
    leave(queue);
    return entry;
}

BOOLEAN NTAPI KeRemoveEntryDeviceQueue(PKDEVICE_QUEUE queue, PKDEVICE_QUEUE_ENTRY entry)
{
    BOOLEAN removed;

    irql_check(DISPATCH_LEVEL, __func__, CALLER);
    spin_lock_enter(&queue->Lock, CALLER);
    removed = entry->Inserted;
    if (removed) RemoveEntryList(&entry->DeviceListEntry);
    entry->Inserted = FALSE;
    spin_lock_leave(&queue->Lock);
    return removed;
}
