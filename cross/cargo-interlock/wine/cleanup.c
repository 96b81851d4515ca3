/*
 * Windows sends IRP_MJ_CLEANUP when the last handle of a file object is closed, and IRP_MJ_CLOSE
 * when the file object has no requests left. Wine sends only IRP_MJ_CLOSE, when the last handle is
 * closed and while requests are still pending. So the driver's IRP_MJ_CLOSE routine is replaced by
 * one that first does what Windows does for IRP_MJ_CLEANUP. The file object can be closed after its
 * requests are cancelled.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#define CLOSE_TAG 0x736f6c43 /* Clos */

/* Routines of Wine, under the names that build.sh gives them in the import library. */
NTSTATUS NTAPI wine_IoCreateDevice(PDRIVER_OBJECT driver, ULONG extension, PUNICODE_STRING name, DEVICE_TYPE type,
                                   ULONG characteristics, BOOLEAN exclusive, PDEVICE_OBJECT *device);
void *NTAPI wine_ExAllocatePoolWithTag(int pool_type, SIZE_T size, ULONG tag);
PIRP NTAPI wine_IoAllocateIrp(CCHAR stack_size, BOOLEAN charge_quota);
void NTAPI wine_IoFreeIrp(PIRP irp);
NTSTATUS NTAPI wine_IofCallDriver(PDEVICE_OBJECT device, PIRP irp);
void NTAPI wine_KeInitializeEvent(PRKEVENT event, EVENT_TYPE type, BOOLEAN state);
LONG NTAPI wine_KeSetEvent(PRKEVENT event, KPRIORITY increment, BOOLEAN wait);
NTSTATUS NTAPI wine_KeWaitForSingleObject(PVOID object, KWAIT_REASON reason, KPROCESSOR_MODE mode, BOOLEAN alertable,
                                          PLARGE_INTEGER timeout);

/* The IRP_MJ_CLOSE routine of a driver. The entry of an unloaded driver stays in the list until a
 * driver whose object has the same address replaces it. */
struct close {
    struct close *next;
    PDRIVER_OBJECT driver;
    PDRIVER_DISPATCH routine;
};

static struct close *closes;

static struct close *close_of(PDRIVER_OBJECT driver)
{
    struct close *close = closes;

    while (close && close->driver != driver) close = close->next;
    return close;
}

static NTSTATUS NTAPI cleaned_up(PDEVICE_OBJECT device, PIRP irp, void *event)
{
    (void)device;
    (void)irp;
    wine_KeSetEvent(event, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static void send_cleanup(PDEVICE_OBJECT device, PFILE_OBJECT file)
{
    PIRP irp = wine_IoAllocateIrp(device->StackSize, FALSE);
    PIO_STACK_LOCATION stack;
    KEVENT event;

    if (!irp) return;
    wine_KeInitializeEvent(&event, NotificationEvent, FALSE);
    irp->Flags = IRP_CLOSE_OPERATION | IRP_SYNCHRONOUS_API;
    irp->Tail.Overlay.OriginalFileObject = file;
    IoSetCompletionRoutine(irp, cleaned_up, &event, TRUE, TRUE, TRUE);
    stack = IoGetNextIrpStackLocation(irp);
    stack->MajorFunction = IRP_MJ_CLEANUP;
    stack->FileObject = file;
    wine_IofCallDriver(device, irp);
    wine_KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
    wine_IoFreeIrp(irp);
}

static NTSTATUS NTAPI cleanup_and_close(PDEVICE_OBJECT device, PIRP irp)
{
    /* A driver that passes IRP_MJ_CLOSE on has passed IRP_MJ_CLEANUP on too. */
    if (!device->AttachedDevice) send_cleanup(device, IoGetCurrentIrpStackLocation(irp)->FileObject);
    return close_of(device->DriverObject)->routine(device, irp);
}

static void add_cleanup(PDRIVER_OBJECT driver)
{
    PDRIVER_DISPATCH *routine = &driver->MajorFunction[IRP_MJ_CLOSE];
    struct close *close = close_of(driver);

    if (*routine == cleanup_and_close) return;
    if (!close)
    {
        close = wine_ExAllocatePoolWithTag(NonPagedPool, sizeof(*close), CLOSE_TAG);
        if (!close) return;
        close->driver = driver;
        close->next = closes;
        closes = close;
    }
    close->routine = *routine;
    *routine = cleanup_and_close;
}

NTSTATUS NTAPI IoCreateDevice(PDRIVER_OBJECT driver, ULONG extension, PUNICODE_STRING name, DEVICE_TYPE type,
                              ULONG characteristics, BOOLEAN exclusive, PDEVICE_OBJECT *device)
{
    add_cleanup(driver);
    return wine_IoCreateDevice(driver, extension, name, type, characteristics, exclusive, device);
}
