/* The device, its open files and its requests. */
#pragma once

#include "abi.h"
#include "zone.h"

#define TAG 'niwT' /* Twin */

/* The queues whose requests can be cancelled, each with its own spin lock. */
enum { OWN_FIFO, OWN_RETURNED, OWN_LEFT, OWN_QUEUES };

/* The queues that serve one request at a time. */
enum { SERVED_KEYED, SERVED_SERIAL, SERVED_QUEUES };

/* The number of lists for requests that are found by their tag. A power of two. */
#define TAG_LISTS 1024

typedef struct _DEVICE DEVICE;

/* The state of an open file: FileObject->FsContext. */
typedef struct {
    LIST_ENTRY InDevice; /* under DEVICE.FilesLock */
    SINGLE_LIST_ENTRY Stack;
    KSPIN_LOCK StackLock;
    /* The number of its records, up to RECORDS_PER_OPEN, plus 1 until it is closed. The thread that
     * decrements it to 0 frees the file. Windows closes a file after its last IRP, but Wine does
     * not wait for that. */
    LONG References;
    /* Set before the queues are searched for its requests; read under the lock of each queue. */
    volatile BOOLEAN CleanedUp;
    LIST_ENTRY Own[OWN_QUEUES];       /* its requests, each list under its queue's lock */
    LIST_ENTRY Served[SERVED_QUEUES]; /* its requests that wait, under the cancel spin lock */
} OPENED;

/* A request that was accepted, in a block of the device's zone. */
typedef struct {
    union {
        SINGLE_LIST_ENTRY Link; /* on the stack, or free in the zone */
        LIST_ENTRY InQueue;     /* among those with a tag like its own, those that wait, or those the DPC completes */
    };
    LIST_ENTRY InFile; /* on one of OPENED.Served */
    KDEVICE_QUEUE_ENTRY InDeviceQueue;
    PIRP Irp;
    OPENED *File;
    PEND_INPUT Pend;
    ULONG Sequence;
    ULONG64 Order;
    LONG64 Accepted; /* by the performance counter */
} RECORD;

/* A queue of cancelable requests, oldest first. An IRP on it uses DriverContext as below. */
typedef struct {
    KSPIN_LOCK Lock;
    LIST_ENTRY Head;
    ULONG Length;
    ULONG Index; /* OWN_FIFO and so on */
    DEVICE *Device;
} OWN_QUEUE;

/* A device queue, and the timer that ends the service of one request. */
typedef struct {
    KDEVICE_QUEUE Queue;
    LIST_ENTRY Waiting; /* under the cancel spin lock */
    ULONG Length;       /* of Waiting */
    ULONG Index;        /* SERVED_KEYED and so on */
    RECORD *Current;
    ULONG Consecutive; /* how many requests were served without a time since the last one with a time */
    KTIMER Timer;
    KDPC Dpc;
    DEVICE *Device;
} SERVED_QUEUE;

typedef struct {
    KSPIN_LOCK CountsLock;
    COUNTERS Counts; /* except Pending */
    LONG Outstanding;
    LONG Stacked;
    KSPIN_LOCK SequenceLock;
    ULONG Sequence;
    KSPIN_LOCK LatencyLock;
    LARGE_INTEGER Latency;
    KSPIN_LOCK LongestLock;
    LONG64 Longest;
    struct {
        LONG Accepted, Dpcs;
    } Processor[PROCESSORS];
} LEDGER;

/* The device extension. */
struct _DEVICE {
    PDEVICE_OBJECT Self, Lower;
    IO_REMOVE_LOCK RemoveLock;
    UNICODE_STRING Interface;
    BOOLEAN RemovePending;
    /* Set before the queues are emptied for the removal; read under the lock of each queue. */
    volatile BOOLEAN Gone;
    LONG RunState;
    KSPIN_LOCK FilesLock;
    LIST_ENTRY Files;
    BOOLEAN FilesReleased;
    ZONE Zone;
    LEDGER Ledger;
    OWN_QUEUE Own[OWN_QUEUES];
    LIST_ENTRY *Tags; /* TAG_LISTS lists of RECORD.InQueue, under the lock of OWN_FIFO */
    SERVED_QUEUE Served[SERVED_QUEUES];
    KSPIN_LOCK DrainedLock;
    LIST_ENTRY Drained;
    KDPC DrainDpc;
};

/* The words that the driver stores in a pended IRP. The first two are one LIST_ENTRY. */
#define IRP_IN_FILE(irp) ((PLIST_ENTRY)&(irp)->Tail.Overlay.DriverContext[0])
#define IRP_QUEUE(irp) (*(OWN_QUEUE **)&(irp)->Tail.Overlay.DriverContext[2])
#define IRP_RECORD(irp) (*(RECORD **)&(irp)->Tail.Overlay.DriverContext[3])

/* driver.c */
extern ULONG LogLimit;
#define Log(level, ...) ((VOID)((level) <= LogLimit && DbgPrintEx(DPFLTR_IHVDRIVER_ID, (level), __VA_ARGS__)))
NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information);

/* files.c */
DRIVER_DISPATCH DispatchCreate, DispatchCleanup, DispatchClose;
VOID FileRelease(OPENED *File);
VOID EmptyStack(DEVICE *Device, OPENED *File);
/* Releases all files, for a removal that does not wait until they are closed. */
VOID ReleaseAllFiles(DEVICE *Device);

/* pnp.c */
DRIVER_ADD_DEVICE AddDevice;
DRIVER_DISPATCH DispatchPnp, DispatchPassOn;

/* control.c */
DRIVER_DISPATCH DispatchControl, DispatchOther;

/* ledger.c */
VOID LedgerInitialize(LEDGER *Ledger);
NTSTATUS RecordAllocate(DEVICE *Device, OPENED *File, const PEND_INPUT *Pend, RECORD **Record);
VOID RecordFree(DEVICE *Device, RECORD *Record);
VOID LedgerAccept(LEDGER *Ledger, RECORD *Record);
VOID LedgerReject(LEDGER *Ledger);
VOID LedgerRefuse(LEDGER *Ledger);
VOID LedgerCountDpc(LEDGER *Ledger);
VOID LedgerSucceed(LEDGER *Ledger, RECORD *Record);
VOID LedgerCounters(LEDGER *Ledger, COUNTERS *Counters);
VOID DeviceStatistics(DEVICE *Device, STATISTICS *Statistics);
VOID RecordOutput(const RECORD *Record, PENDED_OUTPUT *Output);
/* Complete a pended request and release its hold of the remove lock: with its output, or with a status. */
VOID CompleteRecord(DEVICE *Device, RECORD *Record);
VOID EndPended(DEVICE *Device, PIRP Irp, NTSTATUS Status);

/* own_queue.c */
VOID OwnQueueInitialize(DEVICE *Device, ULONG Index);
NTSTATUS OwnQueueInsert(OWN_QUEUE *Queue, OPENED *File, PIRP Irp, RECORD *Record);
PIRP OwnQueueRemoveFirst(OWN_QUEUE *Queue);
PIRP OwnQueueRemoveByTag(OWN_QUEUE *Queue, ULONG64 Tag);
ULONG OwnQueueLength(OWN_QUEUE *Queue);
VOID OwnQueueCleanup(OWN_QUEUE *Queue, OPENED *File);
VOID OwnQueueEndAll(OWN_QUEUE *Queue);

/* served_queue.c */
VOID ServedQueueInitialize(DEVICE *Device, ULONG Index);
NTSTATUS ServedQueueInsert(SERVED_QUEUE *Queue, OPENED *File, PIRP Irp, RECORD *Record);
VOID ServedQueueCleanup(SERVED_QUEUE *Queue, OPENED *File);
VOID ServedQueueEndAll(SERVED_QUEUE *Queue);

/* drained.c */
VOID DrainedInitialize(DEVICE *Device);
NTSTATUS DrainedInsert(DEVICE *Device, PIRP Irp, RECORD *Record);
