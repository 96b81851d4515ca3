//! A zone, of which each request takes a block for as long as it is worked on.

use std::{cell::UnsafeCell, marker::PhantomData, sync::Arc};

use nt::{
    KSPIN_LOCK, NTSTATUS, SINGLE_LIST_ENTRY, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_FOUND,
    STATUS_SUCCESS, ZONE_HEADER,
};
use ntmodel::{Kernel, Rule};

use super::{
    EVERY, Fault,
    frame::{COMPLETE, Family, Irp, PEND, Stage},
};

/// How long a block is, and the segment that they are cut from.
const BLOCK: u32 = 16;
const SEGMENT: u32 = 128;

/// The zone, in the device extension, and the memory of its blocks.
#[repr(C)]
struct Blocks {
    lock: UnsafeCell<KSPIN_LOCK>,
    zone: UnsafeCell<ZONE_HEADER>,
    segment: UnsafeCell<[u64; SEGMENT as usize / 8]>,
}

impl Blocks {
    fn free_list(&self) -> *mut SINGLE_LIST_ENTRY {
        // SAFETY: the address alone is computed, inside the zone.
        unsafe { &raw mut (*self.zone.get()).FreeList }
    }

    /// `ExInterlockedFreeToZone`.
    fn free(&self, block: *mut SINGLE_LIST_ENTRY) {
        // SAFETY: the zone is initialised, and the block is one of its.
        unsafe { nt::ExInterlockedPushEntryList(self.free_list(), block, self.lock.get()) };
    }
}

/// What the driver does, step by step, as it should be.
trait Steps: 'static {
    /// Works on a request by means of a block; fails for an unknown one.
    fn work(_own: &Blocks, _block: *mut SINGLE_LIST_ENTRY, code: u32) -> NTSTATUS {
        if code == PEND {
            STATUS_SUCCESS
        } else {
            STATUS_NOT_FOUND
        }
    }
}

/// The driver of some steps.
struct Zone<S>(PhantomData<S>);

impl<S: Steps> Family for Zone<S> {
    type Own = Blocks;

    fn initialise(own: &Blocks) {
        // SAFETY: the lock stays where it is, and nobody uses it yet.
        unsafe { nt::KeInitializeSpinLock(own.lock.get()) };
        // SAFETY: the segment stays where it is, and is the zone's alone.
        unsafe { nt::ExInitializeZone(own.zone.get(), BLOCK, own.segment.get().cast(), SEGMENT) };
    }

    fn control(own: &Blocks, irp: Irp, code: u32) -> NTSTATUS {
        // SAFETY: the zone is initialised.
        let block = unsafe { nt::ExInterlockedPopEntryList(own.free_list(), own.lock.get()) };
        let status = if block.is_null() {
            STATUS_INSUFFICIENT_RESOURCES
        } else {
            let status = S::work(own, block, code);
            own.free(block);
            status
        };
        irp.complete(status);
        status
    }
}

/// Two actors send requests, one of which fails.
fn one_fails<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Zone<S>>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        file.device_control(PEND, &[], Vec::new()).answer()
    });
    assert_eq!(stage.send(COMPLETE).answer(), STATUS_NOT_FOUND);
    assert_eq!(other.join(), STATUS_SUCCESS);
    stage.strike();
}

struct Correct;

impl Steps for Correct {}

struct FreedTwice;

impl Steps for FreedTwice {
    fn work(own: &Blocks, block: *mut SINGLE_LIST_ENTRY, code: u32) -> NTSTATUS {
        if code == PEND {
            return STATUS_SUCCESS;
        }
        own.free(block);
        STATUS_NOT_FOUND
    }
}

pub(super) const FREED_TWICE: Fault = Fault {
    name: "zone::freed_twice",
    twin_name: "zone::freed_twice, corrected",
    what: "the path of an error frees a block to its zone, and so does the end that every path comes to: the next two \
           requests get the same block",
    rule: Rule::ZoneBlock,
    search: EVERY,
    faulty: one_fails::<FreedTwice>,
    twin: one_fails::<Correct>,
};
