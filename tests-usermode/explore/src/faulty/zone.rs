//! A zone, from which each request takes a block while it is processed.

use std::{cell::UnsafeCell, marker::PhantomData, sync::Arc};

use nt::{
    KSPIN_LOCK, NTSTATUS, SINGLE_LIST_ENTRY, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_FOUND,
    STATUS_SUCCESS, ZONE_HEADER,
};
use ntmodel::Kernel;

use super::{
    Fault,
    frame::{Family, Irp, nt, set_up},
};
use crate::harness::{COMPLETE, PEND, send};

/// The mistakes of this family.
pub(super) const FAULTS: &[Fault] = faults! { "zone":
    "freed_twice", FreedTwice, one_fails, ZoneBlock,
        "an error path frees a block to its zone, and so does the common exit: the next two requests get the same block";
};

/// The length of a block, and of the segment that contains them.
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
        // SAFETY: only the address is computed, inside the zone.
        unsafe { &raw mut (*self.zone.get()).FreeList }
    }

    /// `ExInterlockedFreeToZone`.
    fn free(&self, block: *mut SINGLE_LIST_ENTRY) {
        nt!(ExInterlockedPushEntryList(
            self.free_list(),
            block,
            self.lock.get()
        ));
    }
}

/// The steps of the driver; the default methods are correct.
trait Steps: 'static {
    /// Processes a request by means of a block; fails for an unknown code.
    fn process(_data: &Blocks, _block: *mut SINGLE_LIST_ENTRY, code: u32) -> NTSTATUS {
        if code == PEND {
            STATUS_SUCCESS
        } else {
            STATUS_NOT_FOUND
        }
    }
}

/// The driver with these steps.
struct Zone<S>(PhantomData<S>);

impl<S: Steps> Family for Zone<S> {
    type Data = Blocks;

    fn initialize(data: &Blocks) {
        nt!(KeInitializeSpinLock(data.lock.get()));
        nt!(ExInitializeZone(
            data.zone.get(),
            BLOCK,
            data.segment.get().cast(),
            SEGMENT
        ));
    }

    fn control(data: &Blocks, irp: Irp, code: u32) -> NTSTATUS {
        let block = nt!(ExInterlockedPopEntryList(data.free_list(), data.lock.get()));
        let status = if block.is_null() {
            STATUS_INSUFFICIENT_RESOURCES
        } else {
            let status = S::process(data, block, code);
            data.free(block);
            status
        };
        irp.complete(status);
        status
    }
}

/// Two threads send requests, one of which fails.
fn one_fails<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<Zone<S>>(kernel);
    let other = harness.actor("other", &harness.file, |file| send(file, PEND).answer());
    assert_eq!(harness.send(COMPLETE).answer(), STATUS_NOT_FOUND);
    assert_eq!(other.join(), STATUS_SUCCESS);
    harness.tear_down();
}

struct Correct;

impl Steps for Correct {}

struct FreedTwice;

impl Steps for FreedTwice {
    fn process(data: &Blocks, block: *mut SINGLE_LIST_ENTRY, code: u32) -> NTSTATUS {
        if code == PEND {
            return STATUS_SUCCESS;
        }
        data.free(block);
        STATUS_NOT_FOUND
    }
}
