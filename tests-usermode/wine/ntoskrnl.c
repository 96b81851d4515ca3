/*
 * The PE that completes Wine's ntoskrnl.exe, under Wine's own name for it: it defines the routines
 * that routines.h lists and forwards every other export to ntosbase.dll, a copy of Wine's. It is
 * loaded by each winedevice.exe, the user-mode process in which Wine runs drivers, so everything
 * here is plain user mode: the log is a file, a "bug check" is a line in it.
 */

#define WIN32_NO_STATUS /* ntstatus.h has them all */
#include "pool.h"
#undef WIN32_NO_STATUS

#include <ntstatus.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <winternl.h>

#define LOG_FILE "\\temp\\ntoskrnl.log" /* in the Windows directory; run.sh reads it */

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

/* Wine's own, by the names that build.sh gives them in the import library. */
void WINAPI wine_ExFreePoolWithTag(void *address, ULONG tag);
NTSTATUS WINAPI wine_ZwUnloadDriver(const UNICODE_STRING *service);
void WINAPI RtlRaiseStatus(NTSTATUS status);

static char log_path[MAX_PATH];

void report(const char *format, ...)
{
    char line[512];
    va_list arguments;
    HANDLE file;
    DWORD written;
    int length;

    va_start(arguments, format);
    length = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    if (length > (int)sizeof(line) - 2) length = sizeof(line) - 2;
    line[length++] = '\n';

    /* One write to a file opened for appending: the lines of several processes do not mix. */
    file = CreateFileA(log_path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return;
    WriteFile(file, line, length, &written, NULL);
    CloseHandle(file);
}

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
    int pool_type = NonPagedPoolNx;
    void *address;

    if (!one_type || !tag || (flags & POOL_FLAGS_REQUIRED & ~POOL_FLAGS_KNOWN))
        return allocation_failed(flags, STATUS_INVALID_PARAMETER);
    if (!size)
    {
        /* The documentation wants it non-zero; Driver Verifier stops with 0xC4, 0. */
        report("error: ExAllocatePool2 asked for no bytes");
        return allocation_failed(flags, STATUS_INVALID_PARAMETER);
    }

    if (type == POOL_FLAG_PAGED) pool_type = PagedPool;
    if (type == POOL_FLAG_NON_PAGED_EXECUTE) pool_type = NonPagedPoolExecute;
    if (flags & POOL_FLAG_CACHE_ALIGNED) alignment = CACHE_LINE;
    if (size >= PAGE_SIZE) alignment = PAGE_SIZE;

    address = pool_allocate(pool_type, size, alignment, tag, __builtin_return_address(0));
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
 * devices have been removed, DriverUnload has run and the image is gone. */
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
        struct pool_totals totals = pool_close_unloaded_images();

        report("driver %s unloaded: %zu blocks, %zu bytes of pool not freed (allocated %zu, freed %zu)", name,
               totals.blocks, totals.bytes, totals.allocated, totals.freed);
    }
    return status;
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
    UINT length;

    (void)reserved;
    if (reason != DLL_PROCESS_ATTACH) return TRUE;
    DisableThreadLibraryCalls(instance);
    length = GetWindowsDirectoryA(log_path, sizeof(log_path) - sizeof(LOG_FILE));
    strcpy(log_path + length, LOG_FILE);

#define SUPPLIED(routine, why) report("supplied: %s (%s)", #routine, why);
#define WRAPPED(routine, why) report("wrapped: %s (%s)", #routine, why);
#include "routines.h"
    return TRUE;
}
