/*
 * Handles. Under Wine a driver runs in winedevice.exe. A handle of the process that sent a request
 * is not valid in winedevice.exe, so Wine does not accept it. Wine also does not open a device
 * object by pointer, since it stores no security descriptor for it.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntifs.h>

#include "host.h"

#define CURRENT_PROCESS ((HANDLE)(LONG_PTR)-1)

/* Routines of Wine, under the names that build.sh gives them in the import library. */
NTSTATUS NTAPI wine_ObReferenceObjectByHandle(HANDLE handle, ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
                                              PVOID *object, POBJECT_HANDLE_INFORMATION information);
NTSTATUS NTAPI wine_ObOpenObjectByPointer(PVOID object, ULONG attributes, PACCESS_STATE state, ACCESS_MASK access,
                                          POBJECT_TYPE type, KPROCESSOR_MODE mode, PHANDLE handle);
HANDLE NTAPI wine_PsGetCurrentProcessId(void);
NTSTATUS NTAPI wine_ZwOpenProcess(PHANDLE process, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes, PCLIENT_ID client);
NTSTATUS NTAPI wine_ZwDuplicateObject(HANDLE from, HANDLE handle, HANDLE to, PHANDLE duplicate, ACCESS_MASK access,
                                      ULONG attributes, ULONG options);
NTSTATUS NTAPI wine_ZwCreateEvent(PHANDLE event, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes, EVENT_TYPE type, BOOLEAN state);
NTSTATUS NTAPI wine_ZwClose(HANDLE handle);

NTSTATUS NTAPI ObReferenceObjectByHandle(HANDLE handle, ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
                                         PVOID *object, POBJECT_HANDLE_INFORMATION information)
{
    OBJECT_ATTRIBUTES attributes = {.Length = sizeof attributes};
    CLIENT_ID sender = {.UniqueProcess = wine_PsGetCurrentProcessId()};
    HANDLE process, duplicate;
    NTSTATUS status;

    if (mode == KernelMode) return wine_ObReferenceObjectByHandle(handle, access, type, mode, object, information);
    status = wine_ZwOpenProcess(&process, PROCESS_DUP_HANDLE, &attributes, &sender);
    if (status) return status;
    status = wine_ZwDuplicateObject(process, handle, CURRENT_PROCESS, &duplicate, access, 0, 0);
    wine_ZwClose(process);
    if (status) return status;
    status = wine_ObReferenceObjectByHandle(duplicate, access, type, KernelMode, object, information);
    wine_ZwClose(duplicate);
    return status;
}

NTSTATUS NTAPI ObOpenObjectByPointer(PVOID object, ULONG attributes, PACCESS_STATE state, ACCESS_MASK access, POBJECT_TYPE type,
                                     KPROCESSOR_MODE mode, PHANDLE handle)
{
    if (*(CSHORT *)object == IO_TYPE_DEVICE && !type && mode == KernelMode)
        return wine_ZwCreateEvent(handle, access, NULL, NotificationEvent, FALSE);
    return wine_ObOpenObjectByPointer(object, attributes, state, access, type, mode, handle);
}
