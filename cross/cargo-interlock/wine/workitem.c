/*
 * Work items. Wine runs their routines in a thread pool, and keeps the device object until they
 * have returned. It does not detect that an item is already queued, and it unloads a driver whose
 * routines still run. So these routines record the items, pass them to Wine's routines, and wait
 * until the work items have run after DriverUnload has returned.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"
#include "spinlock.h"

#define WORK_TAG 0x6b726f57 /* Work */

/* Routines of Wine, under the names that build.sh gives them in the import library. */
PIO_WORKITEM NTAPI wine_IoAllocateWorkItem(PDEVICE_OBJECT device);
void NTAPI wine_IoFreeWorkItem(PIO_WORKITEM item);
void NTAPI wine_IoQueueWorkItem(PIO_WORKITEM item, PIO_WORKITEM_ROUTINE routine, WORK_QUEUE_TYPE type, void *context);
NTSTATUS NTAPI wine_KeDelayExecutionThread(KPROCESSOR_MODE mode, BOOLEAN alertable, PLARGE_INTEGER interval);
void *NTAPI wine_ExAllocatePoolWithTag(int pool_type, SIZE_T size, ULONG tag);
void NTAPI wine_ExFreePoolWithTag(void *address, ULONG tag);

/* A driver that has allocated a work item. The entry of an unloaded driver stays in the list until
 * a driver whose object has the same address replaces it. */
struct driver {
    struct driver *next;
    PDRIVER_OBJECT object;
    PDRIVER_UNLOAD unload;
    volatile LONG active; /* routines that are queued or running */
    LONG items;
};

/* The contents of a driver's IO_WORKITEM. */
struct item {
    struct item *next;
    PIO_WORKITEM wine_item;
    PDEVICE_OBJECT device;
    struct driver *driver;
    PIO_WORKITEM_ROUTINE routine;
    void *context;
    BOOLEAN queued;
};

static spin_lock lock; /* guards the lists and `queued` */
static struct driver *drivers;
static struct item *items;

static struct driver *driver_of(PDRIVER_OBJECT object)
{
    struct driver *driver = drivers;

    while (driver && driver->object != object) driver = driver->next;
    return driver;
}

static void NTAPI unload_and_wait(PDRIVER_OBJECT object)
{
    LARGE_INTEGER millisecond = {.QuadPart = -10000};
    struct driver *driver;

    spin_lock_enter(&lock, CALLER);
    driver = driver_of(object);
    spin_lock_leave(&lock);
    driver->unload(object);
    while (driver->active) wine_KeDelayExecutionThread(KernelMode, FALSE, &millisecond);
    if (driver->items) violation((void *)driver->unload, "%ld work items not freed", (long)driver->items);
}

/* With the lock held, returns the driver of a new item, and replaces its DriverUnload. `spare` is
 * used if the driver is not in the list. */
static struct driver *add_driver(PDRIVER_OBJECT object, struct driver **spare)
{
    struct driver *driver = driver_of(object);

    if (!driver)
    {
        driver = *spare;
        *spare = NULL;
        *driver = (struct driver){.next = drivers, .object = object};
        drivers = driver;
    }
    if (object->DriverUnload && object->DriverUnload != unload_and_wait)
    {
        driver->unload = object->DriverUnload;
        driver->items = 0;
        object->DriverUnload = unload_and_wait;
    }
    return driver;
}

/* With the lock held, returns the link to an item, or NULL if it is not a work item. */
static struct item **find(PIO_WORKITEM item)
{
    struct item **link = &items;

    while (*link && (PIO_WORKITEM)*link != item) link = &(*link)->next;
    return *link ? link : NULL;
}

PIO_WORKITEM NTAPI IoAllocateWorkItem(PDEVICE_OBJECT device)
{
    struct driver *spare;
    struct item *item;

    irql_check(DISPATCH_LEVEL, __func__, CALLER);
    item = wine_ExAllocatePoolWithTag(NonPagedPool, sizeof(*item), WORK_TAG);
    if (!item) return NULL;
    *item = (struct item){.wine_item = wine_IoAllocateWorkItem(device), .device = device};
    spare = wine_ExAllocatePoolWithTag(NonPagedPool, sizeof(*spare), WORK_TAG);
    if (!item->wine_item || !spare)
    {
        if (item->wine_item) wine_IoFreeWorkItem(item->wine_item);
        if (spare) wine_ExFreePoolWithTag(spare, WORK_TAG);
        wine_ExFreePoolWithTag(item, WORK_TAG);
        return NULL;
    }
    spin_lock_enter(&lock, CALLER);
    item->driver = add_driver(device->DriverObject, &spare);
    item->driver->items++;
    item->next = items;
    items = item;
    spin_lock_leave(&lock);
    if (spare) wine_ExFreePoolWithTag(spare, WORK_TAG);
    return (PIO_WORKITEM)item;
}

void NTAPI IoFreeWorkItem(PIO_WORKITEM freed)
{
    struct item **link, *item = NULL;
    BOOLEAN queued = FALSE;

    irql_check(DISPATCH_LEVEL, __func__, CALLER);
    spin_lock_enter(&lock, CALLER);
    link = find(freed);
    if (link)
    {
        queued = (*link)->queued;
        if (!queued)
        {
            item = *link;
            *link = item->next;
            item->driver->items--;
        }
    }
    spin_lock_leave(&lock);

    if (!link) violation(CALLER, "%s of something that is not a work item", __func__);
    if (queued) violation(CALLER, "%s of a work item that is queued", __func__);
    if (!item) return;
    wine_IoFreeWorkItem(item->wine_item);
    wine_ExFreePoolWithTag(item, WORK_TAG);
}

static void NTAPI run(PDEVICE_OBJECT device, void *context)
{
    const union thread before = {.irql = PASSIVE_LEVEL};
    struct item *item = context;
    PIO_WORKITEM_ROUTINE routine;
    struct driver *driver;
    union thread after;

    /* From here on the driver can queue the item again, or free it. */
    spin_lock_enter(&lock, CALLER);
    routine = item->routine;
    context = item->context;
    driver = item->driver;
    item->queued = FALSE;
    spin_lock_leave(&lock);

    thread_set(before);
    routine(device, context);
    after = thread_get();
    if (after.irql || after.locks)
        violation((void *)routine, "a work item's routine returned at IRQL %d with %d spin locks held", after.irql,
                  after.locks);
    InterlockedDecrement(&driver->active);
}

void NTAPI IoQueueWorkItem(PIO_WORKITEM queued, PIO_WORKITEM_ROUTINE routine, WORK_QUEUE_TYPE type, void *context)
{
    BOOLEAN was_queued = FALSE;
    struct item **link, *item = NULL;

    irql_check(DISPATCH_LEVEL, __func__, CALLER);
    if (type != DelayedWorkQueue) violation(CALLER, "%s on the queue %d", __func__, type);
    spin_lock_enter(&lock, CALLER);
    link = find(queued);
    if (link)
    {
        was_queued = (*link)->queued;
        if (!was_queued)
        {
            item = *link;
            item->routine = routine;
            item->context = context;
            item->queued = TRUE;
            InterlockedIncrement(&item->driver->active);
        }
    }
    spin_lock_leave(&lock);

    if (!link) violation(CALLER, "%s of something that is not a work item", __func__);
    if (was_queued) violation(CALLER, "%s of a work item that is queued", __func__);
    if (item) wine_IoQueueWorkItem(item->wine_item, run, type, item);
}
