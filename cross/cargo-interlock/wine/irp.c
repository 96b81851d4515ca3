/*
 * Wine can cancel an IRP after it was completed. For CancelIoEx the server queues a cancellation
 * for winedevice.exe, which identifies the IRP only by its address. If the IRP is completed while
 * the cancellation is queued, its memory is free when IoCancelIrp is called, and usually contains
 * another IRP, which is then cancelled by mistake.
 *
 * So a pended IRP of a user-mode request is kept for a while after its completion. A late
 * IoCancelIrp finds it without a Cancel routine and does nothing.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"

#define SEND_TAG 0x646e6553 /* Send */
#define IRPS_KEPT 16384 /* more than can be completed while a cancellation is queued */

/* Routines of Wine, under the names that build.sh gives them in the import library. */
void NTAPI wine_IofCompleteRequest(PIRP irp, CCHAR boost);
void *NTAPI wine_ExAllocatePoolWithTag(int pool_type, SIZE_T size, ULONG tag);
void NTAPI wine_ExFreePoolWithTag(void *address, ULONG tag);

/* Wine's completion routine, which sends the result of a request back to the server. */
struct send_result {
    PIO_COMPLETION_ROUTINE routine;
    void *context;
};

static PIRP kept[IRPS_KEPT];
static volatile LONG next_kept;

static NTSTATUS NTAPI send_result_and_keep(PDEVICE_OBJECT device, PIRP irp, void *context)
{
    struct send_result send = *(struct send_result *)context;
    NTSTATUS status;
    PIRP oldest;

    wine_ExFreePoolWithTag(context, 0);
    status = send.routine(device, irp, send.context);
    /* The IRP was completed before its dispatch routine returned, so it cannot have been cancelled,
     * and Wine still uses it. */
    if (status == STATUS_MORE_PROCESSING_REQUIRED) return status;

    oldest = InterlockedExchangePointer((void **)&kept[(ULONG)InterlockedIncrement(&next_kept) % IRPS_KEPT], irp);
    /* All stack locations of the oldest IRP were completed, so this call frees the IRP and its buffer. */
    if (oldest) wine_IofCompleteRequest(oldest, IO_NO_INCREMENT);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

void NTAPI IofCompleteRequest(PIRP irp, CCHAR boost)
{
    /* Wine's routine is in the stack location of the device that the request was sent to. */
    PIO_STACK_LOCATION first = (PIO_STACK_LOCATION)(irp + 1) + irp->StackCount - 1;
    struct send_result *send = NULL;
    int locks = thread_get().locks;

    if (locks) violation(CALLER, "%s with %d spin locks held", __func__, locks);
    if (irp->RequestorMode == UserMode && first->CompletionRoutine)
        send = wine_ExAllocatePoolWithTag(NonPagedPool, sizeof(*send), SEND_TAG);
    if (send)
    {
        send->routine = first->CompletionRoutine;
        send->context = first->Context;
        first->CompletionRoutine = send_result_and_keep;
        first->Context = send;
    }
    wine_IofCompleteRequest(irp, boost);
}
