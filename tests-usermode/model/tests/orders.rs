//! Orders in which another thread runs after a lock is released, at the end of a completion, or as a dispatch routine begins;
//! and searches that bound the preemptions.

#[macro_use]
mod call;
mod steps;

use std::{cell::UnsafeCell, ptr::null_mut, sync::Arc};

use nt::{
    DEVICE_OBJECT, IRP, KSPIN_LOCK, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND, STATUS_SUCCESS,
};
use ntmodel::{
    Kernel, Rule,
    explore::{Search, explore},
};
use steps::{FIRST, SECOND, Stage, Steps, breaks, complete, end_of, holds, mark};

/// The step at which a driver that completes a kept request clears its pointer to it.
#[derive(PartialEq, Eq)]
enum Clears {
    UnderLock,
    AfterRelease,
}

/// Keeps one request under a lock, until the next one completes it.
struct Keeps<const AFTER_RELEASE: bool>;

struct Kept {
    lock: UnsafeCell<KSPIN_LOCK>,
    irp: UnsafeCell<*mut IRP>,
}

impl Kept {
    fn lock(&self) -> u8 {
        nt!(KeAcquireSpinLockRaiseToDpc(self.lock.get()))
    }

    fn release(&self, irql: u8) {
        nt!(KeReleaseSpinLock(self.lock.get(), irql));
    }

    /// The kept request. The threads of an exploration run one at a time, with or without the lock.
    fn replace(&self, irp: *mut IRP) -> *mut IRP {
        // SAFETY: the caller has acquired it.
        unsafe { self.irp.get().replace(irp) }
    }

    fn get(&self) -> *mut IRP {
        // SAFETY: as above.
        unsafe { *self.irp.get() }
    }

    /// Takes the kept request.
    fn take(&self, clears: &Clears) -> *mut IRP {
        let irql = self.lock();
        let irp = self.get();
        if *clears == Clears::UnderLock {
            self.replace(null_mut());
        }
        self.release(irql);
        if *clears == Clears::AfterRelease {
            self.replace(null_mut());
        }
        irp
    }
}

impl<const AFTER_RELEASE: bool> Steps for Keeps<AFTER_RELEASE> {
    type Own = Kept;

    fn add(_: *mut DEVICE_OBJECT, own: &Kept) {
        nt!(KeInitializeSpinLock(own.lock.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Kept, irp: *mut IRP, code: u32) -> NTSTATUS {
        let clears = if AFTER_RELEASE {
            Clears::AfterRelease
        } else {
            Clears::UnderLock
        };
        if code == FIRST {
            let irql = own.lock();
            let status = mark(irp);
            let before = own.replace(irp);
            own.release(irql);
            if !before.is_null() {
                complete(before, STATUS_CANCELLED);
            }
            return status;
        }
        let kept = own.take(&clears);
        if kept.is_null() {
            return complete(irp, STATUS_NOT_FOUND);
        }
        complete(kept, STATUS_SUCCESS);
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Kept, _: *mut nt::FILE_OBJECT) {
        let kept = own.take(&Clears::UnderLock);
        if !kept.is_null() {
            complete(kept, STATUS_CANCELLED);
        }
    }
}

/// A request is kept, another one takes it, and a third one is kept at the same time.
fn keeps_two<const AFTER_RELEASE: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Keeps<AFTER_RELEASE>>(kernel);
    let first = stage.send(FIRST);
    let file = Arc::clone(&stage.file);
    let taker = kernel.actor("taker", move || {
        end_of(&file.device_control(SECOND, &[], Vec::new()))
    });
    let second = stage.send(FIRST);
    taker.join();
    end_of(&stage.send(SECOND));
    for request in [first, second] {
        end_of(&request);
    }
    stage.tear_down();
}

#[test]
fn a_pointer_that_is_cleared_after_the_lock_was_released_is_used_twice() {
    let text = "is completed again";
    breaks(keeps_two::<true>, Rule::DoubleCompletion, text);
    holds(keeps_two::<false>);
}

/// A driver that reads the state of its file after it has completed the file's last request, or before.
struct ReadsFile<const AFTER_COMPLETION: bool>;

const TAG: u32 = u32::from_le_bytes(*b"tseT");

impl<const AFTER_COMPLETION: bool> Steps for ReadsFile<AFTER_COMPLETION> {
    type Own = Kept;

    fn add(_: *mut DEVICE_OBJECT, own: &Kept) {
        nt!(KeInitializeSpinLock(own.lock.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Kept, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, TAG));
            nt!(irp::set_argument4(irp, block));
            let status = mark(irp);
            let irql = own.lock();
            own.replace(irp);
            own.release(irql);
            return status;
        }
        let kept = own.take(&Clears::UnderLock);
        if kept.is_null() {
            return complete(irp, STATUS_NOT_FOUND);
        }
        let block = nt!(irp::argument4(kept)).cast::<u64>();
        // SAFETY: the block is the request's.
        let count = || unsafe { block.write(1) };
        if !AFTER_COMPLETION {
            count();
        }
        BLOCK.store(block, std::sync::atomic::Ordering::SeqCst);
        complete(kept, STATUS_SUCCESS);
        if AFTER_COMPLETION {
            count();
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(_: &Kept, _: *mut nt::FILE_OBJECT) {
        let block = BLOCK.swap(null_mut(), std::sync::atomic::Ordering::SeqCst);
        nt!(ExFreePoolWithTag(block.cast(), TAG));
    }
}

static BLOCK: std::sync::atomic::AtomicPtr<u64> = std::sync::atomic::AtomicPtr::new(null_mut());

/// A file is closed as soon as its request has ended, while the one that has ended it still runs.
fn closes_early<const AFTER_COMPLETION: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<ReadsFile<AFTER_COMPLETION>>(kernel);
    let request = stage.send(FIRST);
    let file = Arc::clone(&stage.file);
    let completer = kernel.actor("completer", move || {
        end_of(&file.device_control(SECOND, &[], Vec::new()));
    });
    end_of(&request);
    stage.file.close_handle();
    completer.join();
    stage.tear_down();
}

#[test]
fn another_thread_can_run_at_the_end_of_a_completion() {
    breaks(closes_early::<true>, Rule::FreedMemory, "block was freed");
    holds(closes_early::<false>);
}

#[test]
fn a_bounded_search_is_complete_up_to_its_bound() {
    let bounded = explore(Search::preempting(1), keeps_two::<false>);
    let bounded = bounded.unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(
        (bounded.complete, bounded.complete_up_to),
        (false, Some(1)),
        "{bounded:?}"
    );
    let every = holds(keeps_two::<false>);
    assert!(bounded.schedules < every.schedules, "{bounded:?} {every:?}");
    let none = explore(Search::preempting(0), keeps_two::<true>);
    assert_eq!(none.map(|none| none.complete_up_to).ok(), Some(Some(0)));
    let found = explore(Search::preempting(2), keeps_two::<true>).expect_err("two are enough");
    assert_eq!(found.violation.rule, Rule::DoubleCompletion);
    let cut = Search::DepthFirst {
        most: 2,
        preemptions: Some(2),
    };
    let cut = explore(cut, keeps_two::<false>).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!((cut.complete, cut.complete_up_to), (false, None), "{cut:?}");
}
