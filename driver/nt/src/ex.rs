//! Executive support (`Ex`): interlocked lists and variables, zones, pool.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

pub mod interlocked;

use core::ffi::c_void;

use crate::{KSPIN_LOCK, LIST_ENTRY, NTSTATUS};

/// An entry or the head of a singly linked list.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SINGLE_LIST_ENTRY {
    pub Next: *mut SINGLE_LIST_ENTRY,
}

/// A zone: blocks of one size, in segments that the caller provides.
#[repr(C)]
pub struct ZONE_HEADER {
    pub FreeList: SINGLE_LIST_ENTRY,
    pub SegmentList: SINGLE_LIST_ENTRY,
    pub BlockSize: u32,
    pub TotalSegmentSize: u32,
}

/// The header at the start of each segment of a zone.
#[repr(C)]
pub struct ZONE_SEGMENT_HEADER {
    pub SegmentList: SINGLE_LIST_ENTRY,
    pub Reserved: *mut c_void,
}

unsafe extern "C" {
    pub fn ExInterlockedInsertHeadList(
        ListHead: *mut LIST_ENTRY,
        ListEntry: *mut LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut LIST_ENTRY;
    pub fn ExInterlockedInsertTailList(
        ListHead: *mut LIST_ENTRY,
        ListEntry: *mut LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut LIST_ENTRY;
    pub fn ExInterlockedRemoveHeadList(
        ListHead: *mut LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut LIST_ENTRY;
    pub fn ExInterlockedPushEntryList(
        ListHead: *mut SINGLE_LIST_ENTRY,
        ListEntry: *mut SINGLE_LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut SINGLE_LIST_ENTRY;
    pub fn ExInterlockedPopEntryList(
        ListHead: *mut SINGLE_LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut SINGLE_LIST_ENTRY;
    pub fn ExInitializeZone(
        Zone: *mut ZONE_HEADER,
        BlockSize: u32,
        InitialSegment: *mut c_void,
        InitialSegmentSize: u32,
    ) -> NTSTATUS;
    pub fn ExExtendZone(Zone: *mut ZONE_HEADER, Segment: *mut c_void, SegmentSize: u32)
    -> NTSTATUS;
    pub fn ExInterlockedExtendZone(
        Zone: *mut ZONE_HEADER,
        Segment: *mut c_void,
        SegmentSize: u32,
        Lock: *mut KSPIN_LOCK,
    ) -> NTSTATUS;
    pub fn ExAllocatePool2(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    pub fn ExFreePoolWithTag(P: *mut c_void, Tag: u32);
    pub fn ExInterlockedAddUlong(Addend: *mut u32, Increment: u32, Lock: *mut KSPIN_LOCK) -> u32;
    /// `Increment` and the result are `LARGE_INTEGER`s, which are passed and returned like an `i64`.
    pub fn ExInterlockedAddLargeInteger(
        Addend: *mut i64,
        Increment: i64,
        Lock: *mut KSPIN_LOCK,
    ) -> i64;
}
