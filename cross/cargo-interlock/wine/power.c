/*
 * Requests for power states. Wine has no power manager, and its bus driver fails power requests, so none is
 * sent: a driver that owns the power policy stays in D0.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

NTSTATUS NTAPI PoRequestPowerIrp(PDEVICE_OBJECT device, UCHAR minor, POWER_STATE state,
                                 PREQUEST_POWER_COMPLETE routine, void *context, PIRP *irp)
{
    (void)device, (void)minor, (void)state, (void)routine, (void)context, (void)irp;
    return STATUS_INSUFFICIENT_RESOURCES;
}
