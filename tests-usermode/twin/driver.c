/* A driver in C with the interface and the queues of interlock.sys, for comparison, and for tests of the model kernel. */

#include "device.h"

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD Unload;

ULONG LogLimit = DPFLTR_WARNING_LEVEL;

static NTSTATUS OpenKey(HANDLE Below, PUNICODE_STRING Path, PHANDLE Key)
{
    OBJECT_ATTRIBUTES Attributes;

    InitializeObjectAttributes(&Attributes, Path, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, Below, NULL);
    return ZwOpenKey(Key, KEY_READ, &Attributes);
}

/* Reads Parameters\LogLevel. Without the value, or if it is not a REG_DWORD, the limit stays. */
static VOID ReadLogLimit(PUNICODE_STRING RegistryPath)
{
    UNICODE_STRING Name = RTL_CONSTANT_STRING(L"Parameters"), Value = RTL_CONSTANT_STRING(L"LogLevel");
    struct {
        KEY_VALUE_PARTIAL_INFORMATION Information;
        UCHAR Rest[sizeof(ULONG) - 1];
    } Read;
    HANDLE Service, Parameters;
    ULONG Length;

    if (!NT_SUCCESS(OpenKey(NULL, RegistryPath, &Service))) return;
    if (NT_SUCCESS(OpenKey(Service, &Name, &Parameters)))
    {
        if (NT_SUCCESS(ZwQueryValueKey(Parameters, &Value, KeyValuePartialInformation, &Read, sizeof(Read), &Length)) &&
            Read.Information.Type == REG_DWORD && Read.Information.DataLength == sizeof(ULONG))
            LogLimit = *(ULONG *)Read.Information.Data;
        ZwClose(Parameters);
    }
    ZwClose(Service);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    ReadLogLimit(RegistryPath);
    Log(DPFLTR_INFO_LEVEL, "twin: loaded, ABI version %lu\n", ABI_VERSION);
    Driver->MajorFunction[IRP_MJ_CREATE] = DispatchCreate;
    Driver->MajorFunction[IRP_MJ_CLEANUP] = DispatchCleanup;
    Driver->MajorFunction[IRP_MJ_CLOSE] = DispatchClose;
    Driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = DispatchControl;
    Driver->MajorFunction[IRP_MJ_READ] = DispatchOther;
    Driver->MajorFunction[IRP_MJ_WRITE] = DispatchOther;
    Driver->MajorFunction[IRP_MJ_FLUSH_BUFFERS] = DispatchOther;
    Driver->MajorFunction[IRP_MJ_PNP] = DispatchPnp;
    Driver->MajorFunction[IRP_MJ_POWER] = DispatchPassOn;
    Driver->MajorFunction[IRP_MJ_SYSTEM_CONTROL] = DispatchPassOn;
    Driver->DriverExtension->AddDevice = AddDevice;
    Driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}

static VOID NTAPI Unload(PDRIVER_OBJECT Driver)
{
    UNREFERENCED_PARAMETER(Driver);
}

NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}
