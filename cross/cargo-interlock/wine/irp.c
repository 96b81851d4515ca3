/*
 * Wine may cancel an IRP after it was completed. CancelIoEx makes the server put a request to cancel
 * in line for winedevice.exe, which names the IRP by its address alone; if the IRP is completed while
 * that request waits in line, its memory is free by the time that IoCancelIrp is called on it, and
 * as a rule has become another IRP, which is then cancelled although nobody asked for it.
 *
 * So an IRP of a user's request that was pended is kept for a while after it was completed. A late
 * IoCancelIrp finds it without a Cancel routine and does nothing.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"

#define SEND_TAG 0x646e6553 /* Send */
#define IRPS_KEPT 16384 /* more than can pend at one time while one request waits in line */

/* Wine's own, by the names that build.sh gives them in the import library. */
void NTAPI wine_IofCompleteRequest(PIRP irp, CCHAR boost);
void *NTAPI wine_ExAllocatePoolWithTag(int pool_type, SIZE_T size, ULONG tag);
void NTAPI wine_ExFreePoolWithTag(void *address, ULONG tag);

/* The completion routine of Wine's that sends the result of a request back to the server. */
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
    /* Completed before its dispatch routine returned: nobody can have cancelled it, and Wine goes on
     * with it later. */
    if (status == STATUS_MORE_PROCESSING_REQUIRED) return status;

    oldest = InterlockedExchangePointer((void **)&kept[(ULONG)InterlockedIncrement(&next_kept) % IRPS_KEPT], irp);
    /* No stack location is left in it, so this frees it and its buffer. */
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
