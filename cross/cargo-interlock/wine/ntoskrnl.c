/*
 * The PE that completes Wine's ntoskrnl.exe, under Wine's own name for it: it defines the routines
 * that routines.h lists and forwards every other export to ntosbase.dll, a copy of Wine's. It is
 * loaded by each winedevice.exe, the user-mode process in which Wine runs drivers.
 */

#define WIN32_NO_STATUS /* ntstatus.h defines all of them */
#include "dpc.h"
#include "host.h"
#include "pool.h"
#undef WIN32_NO_STATUS

#include <ntstatus.h>
#include <string.h>
#include <winternl.h>

#define PAGE_SIZE 4096
#define POOL_ALIGNMENT 16
#define CACHE_LINE 64

#define POOL_FLAG_USE_QUOTA 0x1ull
#define POOL_FLAG_UNINITIALIZED 0x2ull
#define POOL_FLAG_SESSION 0x4ull
#define POOL_FLAG_CACHE_ALIGNED 0x8ull
#define POOL_FLAG_RAISE_ON_FAILURE 0x20ull
#define POOL_FLAG_NON_PAGED 0x40ull
#define POOL_FLAG_NON_PAGED_EXECUTE 0x80ull
#define POOL_FLAG_PAGED 0x100ull
#define POOL_TYPES (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED)
#define POOL_FLAGS_REQUIRED 0xffffffffull /* the other half is optional: what is unknown there is ignored */
#define POOL_FLAGS_KNOWN                                                                                  \
    (POOL_TYPES | POOL_FLAG_USE_QUOTA | POOL_FLAG_UNINITIALIZED | POOL_FLAG_SESSION | POOL_FLAG_CACHE_ALIGNED | \
     POOL_FLAG_RAISE_ON_FAILURE)

enum { NonPagedPoolExecute = 0, PagedPool = 1, NonPagedPoolNx = 512 };

/* Routines of Wine, under the names that build.sh gives them in the import library. */
void WINAPI wine_ExFreePoolWithTag(void *address, ULONG tag);
NTSTATUS WINAPI wine_ZwUnloadDriver(const UNICODE_STRING *service);
BOOLEAN WINAPI IoCancelIrp(void *irp); /* ours, in cancel.c */
void WINAPI RtlRaiseStatus(NTSTATUS status);

static void *allocation_failed(ULONG64 flags, NTSTATUS status)
{
    if (flags & POOL_FLAG_RAISE_ON_FAILURE) RtlRaiseStatus(status);
    return NULL;
}

void *WINAPI ExAllocatePool2(ULONG64 flags, SIZE_T size, ULONG tag)
{
    ULONG64 type = flags & POOL_TYPES;
    BOOL one_type = type && !(type & (type - 1));
    SIZE_T alignment = POOL_ALIGNMENT;
    int pool_type = NonPagedPoolNx, locks = thread_get().locks;
    void *address;

    if (locks) violation(CALLER, "%s with %d spin locks held", __func__, locks);

    if (!one_type || !tag || (flags & POOL_FLAGS_REQUIRED & ~POOL_FLAGS_KNOWN))
        return allocation_failed(flags, STATUS_INVALID_PARAMETER);
    if (!size)
    {
        /* The size must not be zero; Driver Verifier stops with 0xC4, 0. */
        report("error: ExAllocatePool2 called with a size of 0");
        return allocation_failed(flags, STATUS_INVALID_PARAMETER);
    }

    if (type == POOL_FLAG_PAGED) pool_type = PagedPool;
    if (type == POOL_FLAG_NON_PAGED_EXECUTE) pool_type = NonPagedPoolExecute;
    if (flags & POOL_FLAG_CACHE_ALIGNED) alignment = CACHE_LINE;
    if (size >= PAGE_SIZE) alignment = PAGE_SIZE;

    address = pool_allocate(pool_type, size, alignment, tag, CALLER);
    if (!address) return allocation_failed(flags, STATUS_INSUFFICIENT_RESOURCES);
    if (!(flags & POOL_FLAG_UNINITIALIZED)) memset(address, 0, size);
    return address;
}

void WINAPI ExFreePoolWithTag(void *address, ULONG tag)
{
    if (!pool_free(address, tag)) wine_ExFreePoolWithTag(address, tag);
}

void WINAPI ExFreePool(void *address)
{
    ExFreePoolWithTag(address, 0);
}

/* winedevice.exe calls this when a driver's service is stopped. When it returns, the driver's
 * devices have been removed, DriverUnload has run and the image is unloaded. */
NTSTATUS WINAPI ZwUnloadDriver(const UNICODE_STRING *service)
{
    const WCHAR *end = service->Buffer + service->Length / sizeof(WCHAR), *start = end;
    NTSTATUS status;
    char name[64];
    int length;

    while (start > service->Buffer && start[-1] != '\\') start--;
    length = WideCharToMultiByte(CP_UTF8, 0, start, end - start, name, sizeof(name) - 1, NULL, NULL);
    name[length] = 0;

    status = wine_ZwUnloadDriver(service);
    if (status)
        report("driver %s not unloaded: status 0x%08lx", name, (unsigned long)status);
    else
    {
        struct pool_totals totals;

        dpcs_close_unloaded_image(name);
        timers_close_unloaded_image(name);
        totals = pool_close_unloaded_images();
        report("driver %s unloaded: %zu blocks, %zu bytes of pool not freed (allocated %zu, freed %zu)", name,
               totals.blocks, totals.bytes, totals.allocated, totals.freed);
    }
    return status;
}

/* Wine calls some of its routines directly, not through these exports. So the first bytes of such a
 * routine become a jump to the routine here: mov rax, address; jmp rax. */
static BOOL redirect(const char *name, void *ours)
{
    BYTE *wines = (BYTE *)GetProcAddress(GetModuleHandleA("ntosbase.dll"), name), jump[12] = {0x48, 0xb8};
    DWORD protection;

    memcpy(jump + 2, &ours, sizeof(ours));
    memcpy(jump + 10, "\xff\xe0", 2);
    if (!wines || !VirtualProtect(wines, sizeof(jump), PAGE_EXECUTE_READWRITE, &protection)) return FALSE;
    memcpy(wines, jump, sizeof(jump));
    return VirtualProtect(wines, sizeof(jump), protection, &protection);
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
    (void)reserved;
    if (reason != DLL_PROCESS_ATTACH) return TRUE;
    DisableThreadLibraryCalls(instance);
    if (!host_start() || !redirect("IoCancelIrp", IoCancelIrp)) return FALSE;

#define SUPPLIED(routine, why) report("supplied: %s (%s)", #routine, why);
#define WRAPPED(routine, why) report("wrapped: %s (%s)", #routine, why);
#include "routines.h"
    return TRUE;
}
