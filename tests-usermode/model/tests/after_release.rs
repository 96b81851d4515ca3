//! Operations of a driver after it has released a lock, signalled an object or started a thread. Another thread can run before these
//! operations.

#![expect(
    clippy::unnecessary_box_returns,
    reason = "an event or a lock must not move"
)]

#[macro_use]
mod call;
mod common;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
};

use call::{join_thread, spawn, start_thread, wait};
use common::{breaks, delete, event, initialise, passes, set};
use nt::{DEVICE_OBJECT, DelayedWorkQueue, KEVENT, LIST_ENTRY, WORK_QUEUE_ITEM};
use ntmodel::Rule;

const FAST: u8 = 0;
const FAST_UNSAFE: u8 = 1;
const GUARDED: u8 = 2;
const GUARDED_UNSAFE: u8 = 3;
const MUTEX: u8 = 4;
const SEMAPHORE: u8 = 5;
const RESOURCE: u8 = 6;

/// A block of the pool that two threads take, and a lock of one kind. With `AFTER` the pointer is cleared after the lock is released.
struct Taken<const LOCK: u8, const AFTER: bool> {
    /// Enough for each kind of lock.
    lock: UnsafeCell<[u64; 16]>,
    block: Cell<*mut c_void>,
}

impl<const LOCK: u8, const AFTER: bool> Taken<LOCK, AFTER> {
    fn new() -> Box<Self> {
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 16, 1));
        let this = Box::new(Self {
            lock: UnsafeCell::new([0; 16]),
            block: Cell::new(block),
        });
        let lock = this.lock();
        match LOCK {
            FAST | FAST_UNSAFE => nt!(ExInitializeFastMutex(lock.cast())),
            GUARDED | GUARDED_UNSAFE => nt!(KeInitializeGuardedMutex(lock.cast())),
            MUTEX => nt!(KeInitializeMutex(lock.cast(), 0)),
            SEMAPHORE => nt!(KeInitializeSemaphore(lock.cast(), 1, 1)),
            _ => assert_eq!(nt!(ExInitializeResourceLite(lock.cast())), 0),
        }
        this
    }

    fn lock(&self) -> *mut c_void {
        self.lock.get().cast()
    }

    fn acquire(&self) {
        let lock = self.lock();
        nt!(KeEnterCriticalRegion());
        match LOCK {
            FAST => nt!(ExAcquireFastMutex(lock.cast())),
            FAST_UNSAFE => nt!(ExAcquireFastMutexUnsafe(lock.cast())),
            GUARDED => nt!(KeAcquireGuardedMutex(lock.cast())),
            GUARDED_UNSAFE => nt!(KeAcquireGuardedMutexUnsafe(lock.cast())),
            MUTEX | SEMAPHORE => assert_eq!(wait(lock), 0),
            _ => assert_eq!(nt!(ExAcquireResourceExclusiveLite(lock.cast(), 1)), 1),
        }
    }

    /// Releases the lock.
    fn release(&self) {
        let lock = self.lock();
        match LOCK {
            FAST => nt!(ExReleaseFastMutex(lock.cast())),
            FAST_UNSAFE => nt!(ExReleaseFastMutexUnsafe(lock.cast())),
            GUARDED => nt!(KeReleaseGuardedMutex(lock.cast())),
            GUARDED_UNSAFE => nt!(KeReleaseGuardedMutexUnsafe(lock.cast())),
            MUTEX => assert_eq!(nt!(KeReleaseMutex(lock.cast(), 0)), 0),
            SEMAPHORE => assert_eq!(nt!(KeReleaseSemaphore(lock.cast(), 0, 1, 0)), 0),
            _ => nt!(ExReleaseResourceLite(lock.cast())),
        }
    }

    fn take(&self) {
        self.acquire();
        let block = self.block.get();
        if AFTER {
            self.release();
            self.block.set(null_mut());
        } else {
            self.block.set(null_mut());
            self.release();
        }
        nt!(KeLeaveCriticalRegion());
        if !block.is_null() {
            nt!(ExFreePool(block));
        }
    }
}

fn taken_twice<const LOCK: u8, const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    let taken = Taken::<LOCK, AFTER>::new();
    let thread = spawn(&*taken, Taken::<LOCK, AFTER>::take);
    taken.take();
    join_thread(thread);
    if LOCK == RESOURCE {
        nt!(ExDeleteResourceLite(taken.lock().cast()));
    }
    delete(device);
}

/// Checks that a change after a lock was released is found, and that a change before breaks no rule.
fn change_after_is_found<const LOCK: u8>() {
    breaks(taken_twice::<LOCK, true>, Rule::Pool);
    passes(taken_twice::<LOCK, false>);
}

#[test]
fn a_pointer_that_is_cleared_after_any_lock_was_released_is_used_twice() {
    change_after_is_found::<FAST>();
    change_after_is_found::<FAST_UNSAFE>();
    change_after_is_found::<GUARDED>();
    change_after_is_found::<GUARDED_UNSAFE>();
    change_after_is_found::<MUTEX>();
    change_after_is_found::<SEMAPHORE>();
    change_after_is_found::<RESOURCE>();
}

/// An operation that one thread ends. Another thread waits for it and frees it.
struct Operation {
    done: UnsafeCell<KEVENT>,
    state: Cell<u32>,
}

impl Operation {
    fn new() -> Box<Self> {
        let this = Box::new(Self {
            done: UnsafeCell::new(event()),
            state: Cell::new(1),
        });
        initialise(this.done.get());
        this
    }

    /// Ends the operation, whose state is changed before or after that.
    fn ends<const AFTER: bool>(&self) {
        if !AFTER {
            self.state.set(0);
        }
        set(self.done.get());
        if AFTER {
            self.state.set(0);
        }
    }
}

fn freed_when_it_has_ended<const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    let operation = Operation::new();
    let thread = spawn(&*operation, Operation::ends::<AFTER>);
    wait(operation.done.get());
    drop(operation);
    join_thread(thread);
    delete(device);
}

#[test]
fn memory_is_written_after_the_event_was_set_with_which_another_thread_frees_it() {
    breaks(freed_when_it_has_ended::<true>, Rule::FreedMemory);
    passes(freed_when_it_has_ended::<false>);
}

/// Starts a thread that sets an event, which is initialised before or after that.
fn started<const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    unsafe extern "C" fn sets(context: *mut c_void) {
        set(context.cast());
    }
    let mut event = event();
    let event = &raw mut event;
    if !AFTER {
        initialise(event);
    }
    let thread = start_thread(sets, event);
    if AFTER {
        initialise(event);
    }
    wait(event);
    join_thread(thread);
    delete(device);
}

#[test]
fn an_event_is_initialised_after_the_thread_was_started_that_sets_it() {
    breaks(started::<true>, Rule::Pointer);
    passes(started::<false>);
}

/// A work item, and the event that its routine sets.
struct Work {
    item: UnsafeCell<WORK_QUEUE_ITEM>,
    done: UnsafeCell<KEVENT>,
}

fn queued<const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    unsafe extern "C" fn sets(context: *mut c_void) {
        set(context.cast());
    }
    let work = Box::new(Work {
        item: UnsafeCell::new(WORK_QUEUE_ITEM {
            List: LIST_ENTRY {
                Flink: null_mut(),
                Blink: null_mut(),
            },
            WorkerRoutine: Some(sets),
            Parameter: null_mut(),
        }),
        done: UnsafeCell::new(event()),
    });
    let done = work.done.get();
    // SAFETY: the item is not queued yet.
    unsafe { (*work.item.get()).Parameter = done.cast() };
    if !AFTER {
        initialise(done);
    }
    nt!(ExQueueWorkItem(work.item.get(), DelayedWorkQueue));
    if AFTER {
        initialise(done);
    }
    wait(done);
    drop(work);
    delete(device);
}

#[test]
fn an_event_is_initialised_after_the_work_item_was_queued_that_sets_it() {
    breaks(queued::<true>, Rule::Pointer);
    passes(queued::<false>);
}

const RUN_DOWN: u8 = 0;
const REMOVE_LOCK: u8 = 1;

/// Memory that is freed when a thread has released its protection: run-down protection or a remove lock.
struct Protected<const KIND: u8, const AFTER: bool> {
    /// Enough for each kind.
    protection: UnsafeCell<[u64; 8]>,
    uses: Cell<u32>,
}

impl<const KIND: u8, const AFTER: bool> Protected<KIND, AFTER> {
    /// The size of the remove lock of a free build.
    const SIZE: u32 = 0x20;

    /// Makes it and acquires the protection for a thread.
    fn acquired() -> Box<Self> {
        let this = Box::new(Self {
            protection: UnsafeCell::new([0; 8]),
            uses: Cell::new(1),
        });
        if KIND == RUN_DOWN {
            nt!(ExInitializeRundownProtection(this.protection()));
            assert_ne!(nt!(ExAcquireRundownProtection(this.protection())), 0);
        } else {
            let lock = this.protection();
            nt!(IoInitializeRemoveLockEx(lock, 1, 0, 0, Self::SIZE));
            this.acquire_for(&raw const *this);
        }
        this
    }

    fn protection<T>(&self) -> *mut T {
        self.protection.get().cast()
    }

    fn acquire_for<T>(&self, tag: *const T) {
        let (lock, tag) = (self.protection(), tag.cast_mut().cast());
        let (file, line) = (c"".as_ptr(), 1);
        let status = nt!(IoAcquireRemoveLockEx(lock, tag, file, line, Self::SIZE));
        assert_eq!(status, 0);
    }

    /// Releases the protection. The last use is counted before or after that.
    fn ends(&self) {
        if !AFTER {
            self.uses.set(0);
        }
        if KIND == RUN_DOWN {
            nt!(ExReleaseRundownProtection(self.protection()));
        } else {
            nt!(IoReleaseRemoveLockEx(
                self.protection(),
                std::ptr::from_ref(self).cast_mut().cast(),
                Self::SIZE
            ));
        }
        if AFTER {
            self.uses.set(0);
        }
    }
}

fn freed_when_it_is_unprotected<const KIND: u8, const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    let protected = Protected::<KIND, AFTER>::acquired();
    let thread = spawn(&*protected, Protected::<KIND, AFTER>::ends);
    if KIND == RUN_DOWN {
        nt!(ExWaitForRundownProtectionRelease(protected.protection()));
    } else {
        protected.acquire_for(device);
        let (lock, tag) = (protected.protection(), device.cast());
        let size = Protected::<KIND, AFTER>::SIZE;
        nt!(IoReleaseRemoveLockAndWaitEx(lock, tag, size));
    }
    drop(protected);
    join_thread(thread);
    delete(device);
}

#[test]
fn memory_is_written_after_its_protection_was_released() {
    let scenario = freed_when_it_is_unprotected::<RUN_DOWN, true>;
    breaks(scenario, Rule::FreedMemory);
    passes(freed_when_it_is_unprotected::<RUN_DOWN, false>);
    let scenario = freed_when_it_is_unprotected::<REMOVE_LOCK, true>;
    breaks(scenario, Rule::FreedMemory);
    passes(freed_when_it_is_unprotected::<REMOVE_LOCK, false>);
}
