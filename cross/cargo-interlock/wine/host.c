/* A "bug check" is a line in a file, since everything here is plain user mode. */

#include "host.h"

#include <windows.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOG_FILE "\\temp\\ntoskrnl.log" /* in the Windows directory; run.sh reads it */

#define TESTS_BEFORE_YIELD 64
#define VIOLATIONS 64       /* that are told apart */
#define VIOLATION_REPEATS 16

static char log_path[MAX_PATH];
static DWORD slot;

int host_start(void)
{
    UINT length = GetWindowsDirectoryA(log_path, sizeof(log_path) - sizeof(LOG_FILE));

    strcpy(log_path + length, LOG_FILE);
    slot = TlsAlloc();
    return slot != TLS_OUT_OF_INDEXES;
}

union thread thread_get(void)
{
    return (union thread){.slot = TlsGetValue(slot)};
}

void thread_set(union thread thread)
{
    TlsSetValue(slot, thread.slot);
}

unsigned long long thread_self(void)
{
    return (unsigned long long)GetCurrentThreadId() << 4;
}

void thread_pause(unsigned tests)
{
    if (tests % TESTS_BEFORE_YIELD)
        YieldProcessor();
    else
        SwitchToThread();
}

static void write_line(char *line, size_t room, int length)
{
    HANDLE file;
    DWORD written;

    if (length < 0) return;
    if (length > (int)room - 2) length = room - 2;
    line[length++] = '\n';

    /* One write to a file opened for appending: the lines of several processes do not mix. */
    file = CreateFileA(log_path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return;
    WriteFile(file, line, length, &written, NULL);
    CloseHandle(file);
}

void report(const char *format, ...)
{
    char line[512];
    va_list arguments;

    va_start(arguments, format);
    write_line(line, sizeof(line), vsnprintf(line, sizeof(line), format, arguments));
    va_end(arguments);
}

static BOOL reported_often(const void *where, const char *rule)
{
    static SRWLOCK lock = SRWLOCK_INIT;
    static struct {
        const void *where;
        const char *rule;
        unsigned times;
    } violations[VIOLATIONS];
    unsigned i = 0;
    BOOL often;

    AcquireSRWLockExclusive(&lock);
    while (i < VIOLATIONS && violations[i].rule && (violations[i].where != where || violations[i].rule != rule)) i++;
    often = i == VIOLATIONS || violations[i].times == VIOLATION_REPEATS;
    if (!often)
    {
        violations[i].where = where;
        violations[i].rule = rule;
        violations[i].times++;
    }
    ReleaseSRWLockExclusive(&lock);
    return often;
}

void violation(const void *where, const char *rule, ...)
{
    char text[256], path[MAX_PATH];
    void *base = NULL;
    va_list arguments;

    if (reported_often(where, rule)) return;
    va_start(arguments, rule);
    vsnprintf(text, sizeof(text), rule, arguments);
    va_end(arguments);
    RtlPcToFileHeader((void *)where, &base);
    if (!base || !GetModuleFileNameA(base, path, sizeof(path))) strcpy(path, "no image");
    report("error: %s (%s+0x%zx)", text, file_name(path), (size_t)((char *)where - (char *)base));
}

int image_is_loaded(const void *address)
{
    const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    HMODULE module;

    return GetModuleHandleExA(flags, address, &module);
}

const char *file_name(const char *path)
{
    const char *backslash = strrchr(path, '\\');

    return backslash ? backslash + 1 : path;
}
