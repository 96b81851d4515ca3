//! Operations of a driver after it has made an object accessible to other threads, which can run before these operations.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst},
    },
};

use call::{initialise_dpc, join_thread, spawn, start_thread};
use common::{delete, passes, scenario};
use nt::{
    DEVICE_OBJECT, IRP, KDEVICE_QUEUE, KDPC, KSPIN_LOCK, KTIMER, LIST_ENTRY, NTSTATUS,
    SINGLE_LIST_ENTRY, SLIST_HEADER,
    interlocked::{InterlockedDecrement, InterlockedExchangePointer},
};
use ntmodel::{
    Kernel, Rule,
    explore::{Scenario, Search, explore},
};
use steps::{FIRST, Stage, Steps, complete, end_of, holds, mark};

/// Checks that a driver breaks a rule in some order of its threads.
#[track_caller]
fn breaks(scenario: Scenario, rule: Rule) {
    let found = explore(Search::every(10_000), scenario).expect_err("a rule is broken");
    assert_eq!(found.violation.rule, rule, "\n{found}");
}

/// A block of the pool: an entry of a list, and a number that the creator of the block writes.
#[repr(C, align(16))]
struct Block {
    entry: UnsafeCell<[u64; 4]>,
    number: Cell<u64>,
}

const POINTER: u8 = 0;
const HEAD: u8 = 1;
const TAIL: u8 = 2;
const PUSH: u8 = 3;
const SLIST: u8 = 4;
const QUEUE: u8 = 5;
const QUEUE_BY_KEY: u8 = 6;
const TIMER: u8 = 7;
const TIMER_EX: u8 = 8;
const COALESCABLE: u8 = 9;

/// One thread passes a block to another one, which frees it. With `AFTER` the block is written after it was passed.
struct Given<const BY: u8, const AFTER: bool> {
    list: UnsafeCell<LIST_ENTRY>,
    single: UnsafeCell<SINGLE_LIST_ENTRY>,
    slist: UnsafeCell<SLIST_HEADER>,
    queue: UnsafeCell<KDEVICE_QUEUE>,
    lock: UnsafeCell<KSPIN_LOCK>,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    pointer: AtomicPtr<Block>,
}

impl<const BY: u8, const AFTER: bool> Given<BY, AFTER> {
    fn new() -> Box<Self> {
        // SAFETY: zero is valid for every field.
        let this: Box<Self> = Box::new(unsafe { std::mem::zeroed() });
        nt!(list::InitializeListHead(this.list.get()));
        nt!(KeInitializeSpinLock(this.lock.get()));
        nt!(KeInitializeDeviceQueue(this.queue.get()));
        nt!(KeInitializeTimer(this.timer.get()));
        initialise_dpc(this.dpc.get(), &*this, Self::take);
        this
    }

    /// Inserts an entry into the device queue.
    fn insert(&self, entry: *mut c_void) -> u8 {
        let irql = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
        let inserted = if BY == QUEUE {
            nt!(KeInsertDeviceQueue(self.queue.get(), entry.cast()))
        } else {
            nt!(KeInsertByKeyDeviceQueue(self.queue.get(), entry.cast(), 1))
        };
        nt!(KeLowerIrql(irql));
        inserted
    }

    /// Passes a block to the other thread or the DPC.
    fn pass(&self, block: *mut Block) {
        let (lock, entry) = (self.lock.get(), block.cast());
        let (timer, dpc) = (self.timer.get(), self.dpc.get());
        match BY {
            POINTER => {
                InterlockedExchangePointer(&self.pointer, block);
            }
            HEAD => {
                nt!(ExInterlockedInsertHeadList(
                    self.list.get(),
                    block.cast(),
                    lock
                ));
            }
            TAIL => {
                nt!(ExInterlockedInsertTailList(
                    self.list.get(),
                    block.cast(),
                    lock
                ));
            }
            PUSH => {
                nt!(ExInterlockedPushEntryList(
                    self.single.get(),
                    block.cast(),
                    lock
                ));
            }
            SLIST => {
                nt!(ExpInterlockedPushEntrySList(self.slist.get(), block.cast()));
            }
            // The first attempt makes a queue busy that the other thread has found empty.
            QUEUE | QUEUE_BY_KEY => while self.insert(entry) == 0 {},
            _ => {
                self.pointer.store(block, SeqCst);
                match BY {
                    TIMER => nt!(KeSetTimer(timer, -1, dpc)),
                    TIMER_EX => nt!(KeSetTimerEx(timer, -1, 0, dpc)),
                    _ => nt!(KeSetCoalescableTimer(timer, -1, 0, 0, dpc)),
                };
            }
        }
    }

    fn give(&self) {
        let size = size_of::<Block>();
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, size, 1)).cast::<Block>();
        // SAFETY: the block is alive until it is passed, and the model detects the write after that.
        let write = || unsafe { (*block).number.set(1) };
        if !AFTER {
            write();
        }
        self.pass(block);
        if AFTER {
            write();
        }
    }

    /// Frees the block, if it was passed.
    fn take(&self) {
        let lock = self.lock.get();
        let block: *mut c_void = match BY {
            POINTER => InterlockedExchangePointer(&self.pointer, null_mut()).cast(),
            HEAD | TAIL => nt!(ExInterlockedRemoveHeadList(self.list.get(), lock)).cast(),
            PUSH => nt!(ExInterlockedPopEntryList(self.single.get(), lock)).cast(),
            SLIST => nt!(ExpInterlockedPopEntrySList(self.slist.get())).cast(),
            QUEUE | QUEUE_BY_KEY => {
                let irql = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
                let removed = nt!(KeRemoveByKeyDeviceQueueIfBusy(self.queue.get(), 0));
                nt!(KeLowerIrql(irql));
                removed.cast()
            }
            _ => self.pointer.swap(null_mut(), SeqCst).cast(),
        };
        if !block.is_null() {
            nt!(ExFreePool(block));
        }
    }
}

fn given<const BY: u8, const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    let given = Given::<BY, AFTER>::new();
    let thread = spawn(&*given, Given::<BY, AFTER>::give);
    if !matches!(BY, TIMER | TIMER_EX | COALESCABLE) {
        given.take();
    }
    join_thread(thread);
    nt!(KeCancelTimer(given.timer.get()));
    nt!(KeFlushQueuedDpcs());
    given.take();
    drop(given);
    delete(device);
}

/// Checks that a write after a block was passed is found, and that a write before breaks no rule.
fn write_after_is_found<const BY: u8>() {
    breaks(scenario(given::<BY, true>), Rule::FreedMemory);
    passes(given::<BY, false>);
}

#[test]
fn memory_is_written_after_another_thread_can_have_freed_it() {
    write_after_is_found::<POINTER>();
    write_after_is_found::<HEAD>();
    write_after_is_found::<TAIL>();
    write_after_is_found::<PUSH>();
    write_after_is_found::<SLIST>();
    write_after_is_found::<QUEUE>();
    write_after_is_found::<QUEUE_BY_KEY>();
    write_after_is_found::<TIMER>();
    write_after_is_found::<TIMER_EX>();
    write_after_is_found::<COALESCABLE>();
}

/// Memory that is freed by the thread that releases the last reference.
struct Counted<const AFTER: bool> {
    references: AtomicI32,
    number: Cell<u32>,
}

impl<const AFTER: bool> Counted<AFTER> {
    unsafe extern "C" fn release(context: *mut c_void) {
        let this = context.cast::<Self>();
        // SAFETY: there is a reference, and the model detects the write after that.
        let write = || unsafe { (*this).number.set(1) };
        if !AFTER {
            write();
        }
        // SAFETY: there is a reference.
        let left = InterlockedDecrement(unsafe { &(*this).references });
        if left == 0 {
            // SAFETY: it was allocated as a box, and this was the last reference.
            drop(unsafe { Box::from_raw(this) });
        } else if AFTER {
            write();
        }
    }
}

fn counted<const AFTER: bool>(device: *mut DEVICE_OBJECT) {
    let counted = Box::into_raw(Box::new(Counted::<AFTER> {
        references: AtomicI32::new(2),
        number: Cell::new(0),
    }));
    let thread = start_thread(Counted::<AFTER>::release, counted);
    // SAFETY: the context is the object.
    unsafe { Counted::<AFTER>::release(counted.cast()) };
    join_thread(thread);
    delete(device);
}

#[test]
fn memory_is_written_after_the_second_to_last_reference_was_released() {
    breaks(scenario(counted::<true>), Rule::FreedMemory);
    passes(counted::<false>);
}

/// A driver that keeps one request, which can be cancelled. With `AFTER` it stores the request after it has set the Cancel routine.
struct Cancelable<const AFTER: bool>;

impl<const AFTER: bool> Steps for Cancelable<AFTER> {
    type Own = AtomicPtr<IRP>;

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code != FIRST {
            return complete(irp, nt::STATUS_SUCCESS);
        }
        let status = mark(irp);
        if !AFTER {
            own.store(irp, SeqCst);
        }
        nt!(irp::IoSetCancelRoutine(irp, Some(steps::cancel::<Self>)));
        if AFTER {
            own.store(irp, SeqCst);
        }
        status
    }

    fn cancel(own: &Self::Own, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        nt!(IoReleaseCancelSpinLock(irql));
        own.store(null_mut(), SeqCst);
        complete(irp, nt::STATUS_CANCELLED);
    }

    fn cleanup(own: &Self::Own, _: *mut nt::FILE_OBJECT) {
        let irp = own.load(SeqCst);
        if !irp.is_null() && nt!(irp::IoSetCancelRoutine(irp, None)).is_some() {
            own.store(null_mut(), SeqCst);
            complete(irp, nt::STATUS_CANCELLED);
        }
    }
}

/// Cancels the request while it is sent.
fn cancelled<const AFTER: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Cancelable<AFTER>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    let request = stage.send(FIRST);
    canceller.join();
    request.cancel();
    end_of(&request);
    stage.tear_down();
}

#[test]
fn request_is_stored_after_its_cancel_routine_was_set() {
    breaks(cancelled::<true>, Rule::CompletedIrp);
    holds(cancelled::<false>);
}
