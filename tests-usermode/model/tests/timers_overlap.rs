//! The DPCs of two timers run on two processors.

#[macro_use]
mod call;
mod common;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
};

use call::initialise_dpc;
use common::{delete, scenario};
use nt::{DEVICE_OBJECT, KDPC, KSPIN_LOCK, KTIMER};
use ntmodel::{
    Rule,
    explore::{Search, explore},
};

/// A block that the DPCs of two timers take. With `AFTER` the pointer is cleared after the lock is released.
struct Taken<const AFTER: bool> {
    lock: UnsafeCell<KSPIN_LOCK>,
    block: Cell<*mut c_void>,
    timers: [UnsafeCell<KTIMER>; 2],
    dpcs: [UnsafeCell<KDPC>; 2],
}

impl<const AFTER: bool> Taken<AFTER> {
    fn take(&self) {
        nt!(KeAcquireSpinLockAtDpcLevel(self.lock.get()));
        let block = self.block.get();
        if !AFTER {
            self.block.set(null_mut());
        }
        nt!(KeReleaseSpinLockFromDpcLevel(self.lock.get()));
        if AFTER {
            self.block.set(null_mut());
        }
        if !block.is_null() {
            nt!(ExFreePool(block));
        }
    }
}

fn taken<const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    let taken = Box::new(Taken::<AFTER> {
        lock: UnsafeCell::new(0),
        block: Cell::new(nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, 1))),
        timers: [const { UnsafeCell::new(KTIMER { Reserved: [0; 8] }) }; 2],
        dpcs: [const { UnsafeCell::new(KDPC { Reserved: [0; 8] }) }; 2],
    });
    nt!(KeInitializeSpinLock(taken.lock.get()));
    for (timer, dpc) in taken.timers.iter().zip(&taken.dpcs) {
        nt!(KeInitializeTimer(timer.get()));
        initialise_dpc(dpc.get(), &*taken, Taken::take);
    }
    for (timer, dpc) in taken.timers.iter().zip(&taken.dpcs) {
        nt!(KeSetTimer(timer.get(), -1, dpc.get()));
    }
    let ends = taken.timers.each_ref().map(UnsafeCell::get);
    for timer in ends {
        call::wait(timer);
    }
    nt!(KeFlushQueuedDpcs());
    drop(taken);
    delete(device);
}

#[test]
fn the_dpcs_of_two_timers_use_the_same_block() {
    let found = explore(Search::every(10_000), scenario(taken::<true>));
    let found = found.expect_err("a rule is broken");
    assert_eq!(found.violation.rule, Rule::Pool, "\n{found}");
    let explored = explore(Search::guarded(10_000), scenario(taken::<false>));
    let explored = explored.unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}
