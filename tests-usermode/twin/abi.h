/* The interface of interlock.sys, which driver/abi describes, in C. */
#pragma once

#include "ddk.h"

#define ABI_VERSION 3
#define RECORDS_PER_OPEN (1 << 16)
#define MAX_SERVICE_MS 1000
#define PROCESSORS 32

/* {6f1d3c52-8e0b-4a57-9b43-2d7c51e0a8f4} */
#define INTERFACE_GUID { 0x6f1d3c52, 0x8e0b, 0x4a57, { 0x9b, 0x43, 0x2d, 0x7c, 0x51, 0xe0, 0xa8, 0xf4 } }

#define INTERLOCK_CODE(function, access) CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, access)
#define IOCTL_GET_VERSION INTERLOCK_CODE(0x800, FILE_READ_DATA)
#define IOCTL_PEND INTERLOCK_CODE(0x801, FILE_READ_DATA | FILE_WRITE_DATA)
#define IOCTL_COMPLETE_OLDEST INTERLOCK_CODE(0x802, FILE_WRITE_DATA)
#define IOCTL_COMPLETE_BY_TAG INTERLOCK_CODE(0x803, FILE_WRITE_DATA)
#define IOCTL_GET_COUNTERS INTERLOCK_CODE(0x804, FILE_READ_DATA)
#define IOCTL_GET_STATISTICS INTERLOCK_CODE(0x805, FILE_READ_DATA)
#define IOCTL_POP INTERLOCK_CODE(0x806, FILE_READ_DATA | FILE_WRITE_DATA)
#define IOCTL_SET_RUN_STATE INTERLOCK_CODE(0x807, FILE_WRITE_DATA)
#define IOCTL_RUN_THREADS INTERLOCK_CODE(0x808, FILE_READ_DATA | FILE_WRITE_DATA)
#define IOCTL_FIRST_ROUTINE INTERLOCK_CODE(0x900, FILE_READ_DATA | FILE_WRITE_DATA)

/* The queues that PEND_INPUT.Queue names. */
enum { QUEUE_FIFO, QUEUE_KEYED, QUEUE_SERIAL, QUEUE_INTERLOCKED, QUEUE_STACK };

/* The values of RUN_STATE.State. */
enum { RUN_STATE_RUNNING, RUN_STATE_STOPPED };

typedef struct {
    ULONG Abi, Major, Minor, Patch;
} VERSION_OUTPUT;

typedef struct {
    ULONG64 Tag;
    ULONG Queue, Key, ServiceMs, Reserved;
} PEND_INPUT;

typedef struct {
    ULONG64 Tag, Order;
    ULONG Sequence, Queue, Key, Reserved;
} PENDED_OUTPUT;

typedef struct {
    ULONG Count, Reserved;
} COMPLETE_OLDEST_INPUT, COMPLETED_OUTPUT;

typedef struct {
    ULONG64 Tag;
} COMPLETE_BY_TAG_INPUT;

typedef struct {
    ULONG64 Submitted, Completed, Cancelled, Aborted, Rejected, OverQuota, Pending;
} COUNTERS;

typedef struct {
    ULONG Accepted, Dpcs;
} PROCESSOR_STATISTICS;

typedef struct {
    LONG64 Latency, Longest;
    ULONG Records, RecordsInUse, Stacked, Processors;
    PROCESSOR_STATISTICS Processor[PROCESSORS];
} STATISTICS;

typedef struct {
    ULONG State, Reserved;
} RUN_STATE;

/* The routines, in the order of their codes from IOCTL_FIRST_ROUTINE on. */
enum {
    R_IoAcquireCancelSpinLock,
    R_IoReleaseCancelSpinLock,
    R_IoSetCancelRoutine,
    R_KeInitializeSpinLock,
    R_KeAcquireSpinLock,
    R_KeReleaseSpinLock,
    R_KeAcquireSpinLockAtDpcLevel,
    R_KeReleaseSpinLockFromDpcLevel,
    R_ExInterlockedInsertHeadList,
    R_ExInterlockedInsertTailList,
    R_ExInterlockedRemoveHeadList,
    R_ExInterlockedPushEntryList,
    R_ExInterlockedPopEntryList,
    R_ExInitializeZone,
    R_ExExtendZone,
    R_ExInterlockedExtendZone,
    R_ExInterlockedAllocateFromZone,
    R_ExInterlockedFreeToZone,
    R_KeInitializeDeviceQueue,
    R_KeInsertDeviceQueue,
    R_KeInsertByKeyDeviceQueue,
    R_KeRemoveDeviceQueue,
    R_KeRemoveByKeyDeviceQueue,
    R_KeRemoveByKeyDeviceQueueIfBusy,
    R_KeRemoveEntryDeviceQueue,
    R_ExInterlockedAddUlong,
    R_ExInterlockedAddLargeInteger,
    R_InterlockedIncrement,
    R_InterlockedDecrement,
    R_InterlockedExchange,
    R_KeGetCurrentProcessorNumber,
    ROUTINES
};

#define CALL_VALUES 16

typedef struct {
    ULONG64 Argument;
    ULONG Count, Reserved;
    ULONG64 Values[CALL_VALUES];
} CALL;

typedef struct {
    ULONG64 Value;
    ULONG Found, Status, Count, Reserved;
    ULONG64 Values[CALL_VALUES + 1];
} RETURNED;

#define MAX_THREADS 16
#define MAX_ROUNDS 100000

typedef struct {
    ULONG Routine, Threads, Rounds, Reserved;
} RUN_THREADS_INPUT;

typedef struct {
    ULONG64 Rounds, Expected, Actual, Violations;
} THREADS_RAN_OUTPUT;

C_ASSERT(sizeof(PEND_INPUT) == 24 && sizeof(PENDED_OUTPUT) == 32);
C_ASSERT(sizeof(STATISTICS) == 288 && sizeof(COUNTERS) == 56);
C_ASSERT(sizeof(CALL) == 144 && sizeof(RETURNED) == 160);
