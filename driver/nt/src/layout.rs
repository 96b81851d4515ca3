//! Asserts that the types have their layout on 64-bit Windows, in the portable definitions and in `wdk-sys`.

use core::mem::{offset_of, size_of};

use crate::{
    ANSI_STRING, DEVICE_OBJECT, DRIVER_EXTENSION, DRIVER_OBJECT, EVENT_DATA_DESCRIPTOR,
    EX_RUNDOWN_REF, EX_SPIN_LOCK, FAST_MUTEX, FILE_OBJECT, GROUP_AFFINITY, GUID, IO_CSQ,
    IO_CSQ_IRP_CONTEXT, IO_REMOVE_LOCK, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP,
    KBUGCHECK_CALLBACK_RECORD, KBUGCHECK_REASON_CALLBACK_RECORD, KDEVICE_QUEUE,
    KDEVICE_QUEUE_ENTRY, KDPC, KEVENT, KLOCK_QUEUE_HANDLE, KMUTEX, KSEMAPHORE, KSPIN_LOCK, KTIMER,
    KWAIT_BLOCK, LIST_ENTRY, LOOKASIDE_LIST_EX, MDL, NPAGED_LOOKASIDE_LIST, OBJECT_ATTRIBUTES,
    PAGED_LOOKASIDE_LIST, RTL_OSVERSIONINFOEXW, RTL_QUERY_REGISTRY_TABLE, SINGLE_LIST_ENTRY,
    SLIST_ENTRY, SLIST_HEADER, UNICODE_STRING, WORK_QUEUE_ITEM, ZONE_HEADER, ZONE_SEGMENT_HEADER,
    irp::{DeviceIoControl, ReadWrite, StatusBlock, TailOverlay},
};

macro_rules! assert_sizes {
    ($($type:ty: $size:expr),* $(,)?) => {
        $(const _: () = assert!(size_of::<$type>() == $size);)*
    };
}

macro_rules! assert_offsets {
    ($($type:ty { $($field:ident: $offset:expr),* $(,)? })*) => {
        $($(const _: () = assert!(offset_of!($type, $field) == $offset);)*)*
    };
}

// The types that Interlock allocates or indexes. The kernel allocates device, driver and file objects.
assert_sizes! {
    ANSI_STRING: 0x10,
    EX_RUNDOWN_REF: 8,
    EX_SPIN_LOCK: 4,
    FAST_MUTEX: 0x38,
    GROUP_AFFINITY: 0x10,
    GUID: 0x10,
    KBUGCHECK_CALLBACK_RECORD: 0x40,
    KBUGCHECK_REASON_CALLBACK_RECORD: 0x30,
    KMUTEX: 0x38,
    KSEMAPHORE: 0x20,
    KWAIT_BLOCK: 0x30,
    LIST_ENTRY: 0x10,
    MDL: 0x30,
    UNICODE_STRING: 0x10,
    KSPIN_LOCK: 8,
    KEVENT: 0x18,
    IO_REMOVE_LOCK: 0x20,
    IO_STACK_LOCATION: 0x48,
    IO_STATUS_BLOCK: 0x10,
    StatusBlock: 0x10,
    TailOverlay: 0x50,
    DeviceIoControl: 0x20,
    ReadWrite: 0x18,
    OBJECT_ATTRIBUTES: 0x30,
    IRP: 0xd0,
    SINGLE_LIST_ENTRY: 8,
    RTL_OSVERSIONINFOEXW: 0x11c,
    WORK_QUEUE_ITEM: 0x20,
    ZONE_HEADER: 0x18,
    ZONE_SEGMENT_HEADER: 0x10,
    KDEVICE_QUEUE: 0x28,
    KDEVICE_QUEUE_ENTRY: 0x18,
    KDPC: 0x40,
    KTIMER: 0x40,
    KLOCK_QUEUE_HANDLE: 0x18,
    LOOKASIDE_LIST_EX: 0x60,
    NPAGED_LOOKASIDE_LIST: 0x80,
    PAGED_LOOKASIDE_LIST: 0x80,
    IO_CSQ: 0x40,
    IO_CSQ_IRP_CONTEXT: 0x18,
    SLIST_HEADER: 0x10,
    SLIST_ENTRY: 0x10,
    RTL_QUERY_REGISTRY_TABLE: 0x38,
    EVENT_DATA_DESCRIPTOR: 0x10,
}

// The contents of these are opaque, so only their sizes must agree.
#[cfg(feature = "wdk")]
assert_sizes! {
    wdk_sys::KDEVICE_QUEUE: size_of::<KDEVICE_QUEUE>(),
    wdk_sys::MDL: size_of::<MDL>(),
    wdk_sys::KDEVICE_QUEUE_ENTRY: size_of::<KDEVICE_QUEUE_ENTRY>(),
    wdk_sys::KDPC: size_of::<KDPC>(),
    wdk_sys::KTIMER: size_of::<KTIMER>(),
    wdk_sys::KMUTANT: size_of::<KMUTEX>(),
    wdk_sys::KSEMAPHORE: size_of::<KSEMAPHORE>(),
    wdk_sys::KWAIT_BLOCK: size_of::<KWAIT_BLOCK>(),
    wdk_sys::FAST_MUTEX: size_of::<FAST_MUTEX>(),
    wdk_sys::EX_RUNDOWN_REF: size_of::<EX_RUNDOWN_REF>(),
    wdk_sys::KLOCK_QUEUE_HANDLE: size_of::<KLOCK_QUEUE_HANDLE>(),
}

// The model kernel uses these fields, at the same offsets.
#[cfg(feature = "wdk")]
assert_offsets! {
    wdk_sys::KDEVICE_QUEUE { Type: 0, Size: 2, DeviceListHead: 8, Lock: 0x18 }
    wdk_sys::KDEVICE_QUEUE_ENTRY { DeviceListEntry: 0, SortKey: 0x10, Inserted: 0x14 }
    wdk_sys::KDPC { DeferredRoutine: 0x18, DeferredContext: 0x20, SystemArgument1: 0x28, SystemArgument2: 0x30, DpcData: 0x38 }
    wdk_sys::KMUTANT { Header: 0, MutantListEntry: 0x18, OwnerThread: 0x28 }
    wdk_sys::KSEMAPHORE { Header: 0, Limit: 0x18 }
    wdk_sys::FAST_MUTEX { Count: 0, Owner: 8, Contention: 0x10, Event: 0x18, OldIrql: 0x30 }
    wdk_sys::KTIMER { Header: 0, DueTime: 0x18, TimerListEntry: 0x20, Dpc: 0x30 }
    wdk_sys::MDL { Next: 0, Size: 8, MdlFlags: 0xa, Process: 0x10, MappedSystemVa: 0x18, StartVa: 0x20, ByteCount: 0x28, ByteOffset: 0x2c }
    wdk_sys::IO_REMOVE_LOCK { Common: 0 }
    wdk_sys::IO_REMOVE_LOCK_COMMON_BLOCK { Removed: 0, IoCount: 4, RemoveEvent: 8 }
}

assert_offsets! {
    LIST_ENTRY { Flink: 0, Blink: 8 }
    ANSI_STRING { Length: 0, MaximumLength: 2, Buffer: 8 }
    FAST_MUTEX { Count: 0, Owner: 8, Contention: 0x10, Event: 0x18, OldIrql: 0x30 }
    SINGLE_LIST_ENTRY { Next: 0 }
    SLIST_ENTRY { Next: 0 }
    ZONE_HEADER { FreeList: 0, SegmentList: 8, BlockSize: 0x10, TotalSegmentSize: 0x14 }
    ZONE_SEGMENT_HEADER { SegmentList: 0, Reserved: 8 }
    UNICODE_STRING { Length: 0, MaximumLength: 2, Buffer: 8 }
    OBJECT_ATTRIBUTES { RootDirectory: 8, ObjectName: 0x10, Attributes: 0x18, SecurityDescriptor: 0x20 }
    IO_STATUS_BLOCK { Information: 8 }
    StatusBlock { Status: 0, Information: 8 }
    MDL { Next: 0, Size: 8, MdlFlags: 0xa, MappedSystemVa: 0x18, ByteCount: 0x28, ByteOffset: 0x2c }
    IRP {
        MdlAddress: 8, AssociatedIrp: 0x18, IoStatus: 0x30, RequestorMode: 0x40, PendingReturned: 0x41, CurrentLocation: 0x43, Cancel: 0x44,
        CancelIrql: 0x45, UserIosb: 0x48, UserEvent: 0x50, CancelRoutine: 0x68, UserBuffer: 0x70, Tail: 0x78,
    }
    TailOverlay {
        DriverContext: 0, ListEntry: 0x30, CurrentStackLocation: 0x40, OriginalFileObject: 0x48,
    }
    IO_STACK_LOCATION {
        MajorFunction: 0, MinorFunction: 1, Control: 3, Parameters: 8, DeviceObject: 0x28,
        FileObject: 0x30, CompletionRoutine: 0x38, Context: 0x40,
    }
    ReadWrite { Length: 0, Key: 8, ByteOffset: 0x10 }
    DeviceIoControl {
        OutputBufferLength: 0, InputBufferLength: 8, IoControlCode: 0x10, Type3InputBuffer: 0x18,
    }
    FILE_OBJECT { DeviceObject: 8, FsContext: 0x18, FsContext2: 0x20 }
    DEVICE_OBJECT {
        DriverObject: 8, CurrentIrp: 0x20, Flags: 0x30, Characteristics: 0x34, DeviceExtension: 0x40, DeviceQueue: 0xa0,
        Dpc: 0xc8,
    }
    DRIVER_OBJECT { DeviceObject: 8, DriverExtension: 0x30, DriverStartIo: 0x60, DriverUnload: 0x68, MajorFunction: 0x70 }
    DRIVER_EXTENSION { AddDevice: 8 }
    LOOKASIDE_LIST_EX {
        ListHead: 0, Depth: 0x10, TotalAllocates: 0x14, AllocateMisses: 0x18, TotalFrees: 0x1c, FreeMisses: 0x20, Type: 0x24,
        Tag: 0x28, Size: 0x2c, AllocateEx: 0x30, FreeEx: 0x38, ListEntry: 0x40,
    }
}
