//! A test and the operation that depends on it, without a lock. Another thread can run between the two.

#![expect(clippy::unnecessary_box_returns, reason = "an event must not move")]

#[macro_use]
mod call;
mod common;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst},
};

use call::{join_thread, spawn, start_thread};
use common::{breaks, delete, passes};
use nt::{DEVICE_OBJECT, KEVENT, STATUS_SUCCESS};
use ntmodel::Rule;

const MDL: u8 = 0;
const OWN_IRP: u8 = 1;

/// An object that one thread frees unless another one uses it.
struct Used<const WHAT: u8, const TESTS: bool> {
    object: *mut c_void,
    /// The model does not observe it.
    is_taken: AtomicBool,
    is_freed: Cell<bool>,
    /// It is set before the object is used.
    event: UnsafeCell<KEVENT>,
    block: Cell<u64>,
}

impl<const WHAT: u8, const TESTS: bool> Used<WHAT, TESTS> {
    fn new() -> Box<Self> {
        let mut this = Box::new(Self {
            object: null_mut(),
            is_taken: AtomicBool::new(false),
            is_freed: Cell::new(false),
            event: UnsafeCell::new(common::event()),
            block: Cell::new(0),
        });
        common::initialise(this.event.get());
        this.object = if WHAT == MDL {
            nt!(IoAllocateMdl(
                this.block.as_ptr().cast(),
                8,
                0,
                0,
                null_mut()
            ))
            .cast()
        } else {
            nt!(IoAllocateIrp(1, 0)).cast()
        };
        this
    }

    fn free(&self) {
        if WHAT == MDL {
            nt!(IoFreeMdl(self.object.cast()));
        } else {
            nt!(IoFreeIrp(self.object.cast()));
        }
        self.is_freed.set(true);
    }

    /// Returns whether the other thread does not use or free the object.
    fn is_own(&self, other: bool) -> bool {
        if TESTS {
            !other
        } else {
            !self.is_taken.swap(true, SeqCst)
        }
    }

    fn free_if_unused(&self) {
        if self.is_own(self.is_taken.load(SeqCst)) {
            self.free();
        }
    }

    fn uses(&self) {
        if !self.is_own(self.is_freed.get()) {
            return;
        }
        self.is_taken.store(true, SeqCst);
        common::set(self.event.get());
        if WHAT == MDL {
            nt!(MmBuildMdlForNonPagedPool(self.object.cast()));
        } else {
            nt!(IoReuseIrp(self.object.cast(), STATUS_SUCCESS));
        }
    }
}

fn used<const WHAT: u8, const TESTS: bool>(device: *mut DEVICE_OBJECT) {
    let used = Used::<WHAT, TESTS>::new();
    let thread = spawn(&*used, Used::<WHAT, TESTS>::uses);
    used.free_if_unused();
    join_thread(thread);
    if !used.is_freed.get() {
        used.free();
    }
    drop(used);
    delete(device);
}

#[test]
fn an_object_is_freed_that_another_thread_has_begun_to_use() {
    breaks(used::<MDL, true>, Rule::Mdl);
    passes(used::<MDL, false>);
    breaks(used::<OWN_IRP, true>, Rule::CompletedIrp);
    passes(used::<OWN_IRP, false>);
}

/// A pointer to a block that the first of two threads allocates. With `TESTS` a thread tests only before whether there is one.
struct Allocated<const TESTS: bool>(AtomicPtr<c_void>);

impl<const TESTS: bool> Allocated<TESTS> {
    unsafe extern "C" fn allocate(context: *mut c_void) {
        // SAFETY: the context is a value that lives until the thread has ended.
        let Self(pointer) = unsafe { &*context.cast::<Self>() };
        if !pointer.load(SeqCst).is_null() {
            return;
        }
        let block = nt!(ExAllocatePool(nt::NonPagedPool, 8));
        if TESTS {
            pointer.store(block, SeqCst);
        } else if pointer
            .compare_exchange(null_mut(), block, SeqCst, SeqCst)
            .is_err()
        {
            nt!(ExFreePool(block));
        }
    }
}

fn allocated<const TESTS: bool>(device: *mut DEVICE_OBJECT) {
    let allocated = Box::new(Allocated::<TESTS>(AtomicPtr::new(null_mut())));
    let thread = start_thread(Allocated::<TESTS>::allocate, &raw const *allocated);
    // SAFETY: the context is the value.
    unsafe { Allocated::<TESTS>::allocate((&raw const *allocated).cast_mut().cast()) };
    join_thread(thread);
    nt!(ExFreePool(allocated.0.load(SeqCst)));
    drop(allocated);
    delete(device);
}

#[test]
fn two_threads_allocate_the_same_block() {
    breaks(allocated::<true>, Rule::Pool);
    passes(allocated::<false>);
}
