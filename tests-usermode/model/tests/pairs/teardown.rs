//! What a driver stops when its device is removed, and in which order.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst},
};

use nt::{
    DEVICE_OBJECT, IO_WORKITEM, IRP, KDPC, KEVENT, KTIMER, LOOKASIDE_LIST_EX, NTSTATUS,
    STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT,
    interlocked::{
        InterlockedCompareExchange, InterlockedDecrement, InterlockedExchange,
        InterlockedExchangePointer,
    },
};

use crate::{
    call::{initialise_dpc, queue_work, referenced, start_thread, wait},
    frame::{CORRECT, Lock, TAG, allocate, free, initialise_event, set_event},
    steps::{FIRST, Steps, complete, mark, one_request as one, two_requests as two},
};

/// <https://github.com/microsoft/ebpf-for-windows/pull/850>
const FREES_ITEM_FIRST: u8 = 1;
const WAITS_FIRST: u8 = 2;
const FREES_ITEM_IN_USE: u8 = 3;

/// A timer's DPC queues a work item.
struct Works<const M: u8>;

struct Work {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    item: Cell<*mut IO_WORKITEM>,
    queued: AtomicI32,
    /// Is set while the item is not queued.
    idle: UnsafeCell<KEVENT>,
}

unsafe extern "C" fn works(_: *mut DEVICE_OBJECT, own: *mut c_void) {
    // SAFETY: a correct driver keeps its data until the item has run.
    let own = unsafe { &*own.cast::<Work>() };
    InterlockedExchange(&own.queued, 0);
    set_event(own.idle.get());
}

impl<const M: u8> Steps for Works<M> {
    type Own = Work;

    fn add(device: *mut DEVICE_OBJECT, own: &Work) {
        let notification = nt::_EVENT_TYPE::NotificationEvent;
        nt!(KeInitializeEvent(own.idle.get(), notification, 1));
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, |own: &Work| {
            if InterlockedExchange(&own.queued, 1) == 0 {
                nt!(KeClearEvent(own.idle.get()));
                queue_work(own.item.get(), works, from_ref(own).cast_mut().cast());
            }
        });
        own.item.set(nt!(IoAllocateWorkItem(device)));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Work, irp: *mut IRP, _: u32) -> NTSTATUS {
        nt!(KeSetTimer(own.timer.get(), -10, own.dpc.get()));
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Work) {
        let stop = || {
            nt!(KeCancelTimer(own.timer.get()));
            nt!(KeFlushQueuedDpcs());
        };
        let free_item = || nt!(IoFreeWorkItem(own.item.get()));
        match M {
            FREES_ITEM_FIRST => {
                free_item();
                stop();
            }
            WAITS_FIRST => {
                wait(own.idle.get());
                stop();
                free_item();
            }
            FREES_ITEM_IN_USE => {
                stop();
                free_item();
            }
            _ => {
                stop();
                wait(own.idle.get());
                free_item();
            }
        }
    }
}

const RELEASES_BOTH: u8 = 1;
const FREES_AT_CANCEL: u8 = 2;

/// Keeps a request with a timeout in a block of its own, which its DPC and the driver free together.
struct Expires<const M: u8>;

struct Current {
    lock: Lock,
    block: Cell<*mut Block>,
}

struct Block {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    irp: AtomicPtr<IRP>,
    /// The timer, and the driver.
    references: AtomicI32,
}

impl Block {
    fn release(&self) {
        if InterlockedDecrement(&self.references) == 0 {
            free(from_ref(self).cast_mut());
        }
    }

    fn end(&self, status: NTSTATUS) {
        let irp = InterlockedExchangePointer(&self.irp, null_mut());
        if !irp.is_null() {
            complete(irp, status);
        }
    }
}

impl<const M: u8> Expires<M> {
    fn end(own: &Current) {
        let block = own.lock.with(|| own.block.replace(null_mut()));
        if block.is_null() {
            return;
        }
        // SAFETY: the driver has a reference.
        let block = unsafe { &*block };
        let was_set = nt!(KeCancelTimer(block.timer.get())) != 0;
        block.end(STATUS_SUCCESS);
        if M == FREES_AT_CANCEL {
            return free(from_ref(block).cast_mut());
        }
        if was_set || M == RELEASES_BOTH {
            block.release();
        }
        block.release();
    }
}

impl<const M: u8> Steps for Expires<M> {
    type Own = Current;

    fn add(_: *mut DEVICE_OBJECT, own: &Current) {
        own.lock.initialise();
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Current, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code != FIRST {
            Self::end(own);
            return complete(irp, STATUS_SUCCESS);
        }
        mark(irp);
        let memory = allocate::<Block>();
        // SAFETY: the block was allocated, and zero is valid for it.
        let block = unsafe { &*memory };
        block.irp.store(irp, SeqCst);
        block.references.store(2, SeqCst);
        nt!(KeInitializeTimer(block.timer.get()));
        initialise_dpc(block.dpc.get(), block, |block: &Block| {
            block.end(STATUS_TIMEOUT);
            if M != FREES_AT_CANCEL {
                block.release();
            }
        });
        own.lock.with(|| {
            own.block.set(memory);
            nt!(KeSetTimer(block.timer.get(), -10, block.dpc.get()));
        });
        STATUS_PENDING
    }

    fn remove(own: &Current) {
        Self::end(own);
        nt!(KeFlushQueuedDpcs());
    }
}

const DELETES_EARLY: u8 = 1;

/// A timer's DPC frees a block to a lookaside list.
struct Lookaside<const M: u8>;

struct Kept {
    list: UnsafeCell<LOOKASIDE_LIST_EX>,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    block: AtomicPtr<c_void>,
}

impl Kept {
    fn free(&self) {
        let block = InterlockedExchangePointer(&self.block, null_mut());
        if !block.is_null() {
            nt!(ExFreeToLookasideListEx(self.list.get(), block));
        }
    }
}

impl<const M: u8> Steps for Lookaside<M> {
    type Own = Kept;

    fn add(_: *mut DEVICE_OBJECT, own: &Kept) {
        let (list, nonpaged) = (own.list.get(), 512);
        let status = nt!(ExInitializeLookasideListEx(
            list, None, None, nonpaged, 0, 64, TAG, 0
        ));
        assert_eq!(status, STATUS_SUCCESS);
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, Kept::free);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Kept, irp: *mut IRP, _: u32) -> NTSTATUS {
        let block = nt!(ExAllocateFromLookasideListEx(own.list.get()));
        own.block.store(block, SeqCst);
        nt!(KeSetTimer(own.timer.get(), -10, own.dpc.get()));
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Kept) {
        nt!(KeCancelTimer(own.timer.get()));
        if M == DELETES_EARLY {
            own.free();
            nt!(ExDeleteLookasideListEx(own.list.get()));
        }
        nt!(KeFlushQueuedDpcs());
        if M != DELETES_EARLY {
            own.free();
            nt!(ExDeleteLookasideListEx(own.list.get()));
        }
    }
}

const DEREFERENCES_FIRST: u8 = 1;
const DOES_NOT_STOP: u8 = 2;

/// A thread, of which the driver keeps only a reference.
struct Thread<const M: u8>;

struct Running {
    thread: Cell<*mut c_void>,
    event: UnsafeCell<KEVENT>,
    stopped: AtomicI32,
}

unsafe extern "C" fn runs(own: *mut c_void) {
    // SAFETY: the driver waits for the thread.
    let own = unsafe { &*own.cast::<Running>() };
    while InterlockedCompareExchange(&own.stopped, 0, 0) == 0 {
        wait(own.event.get());
    }
}

impl<const M: u8> Steps for Thread<M> {
    type Own = Running;

    fn add(_: *mut DEVICE_OBJECT, own: &Running) {
        initialise_event(own.event.get());
        let handle = start_thread(runs, own);
        own.thread.set(referenced(handle));
        nt!(ZwClose(handle));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Running, irp: *mut IRP, _: u32) -> NTSTATUS {
        set_event(own.event.get());
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Running) {
        let thread = own.thread.get();
        if M != DOES_NOT_STOP {
            InterlockedExchange(&own.stopped, 1);
        }
        set_event(own.event.get());
        if M == DEREFERENCES_FIRST {
            nt!(ObfDereferenceObject(thread));
        }
        wait(thread);
        if M != DEREFERENCES_FIRST {
            nt!(ObfDereferenceObject(thread));
        }
    }
}

pairs! {
    work_item_is_freed_before_the_timer_that_queues_it_is_cancelled:
        one::<Works<FREES_ITEM_FIRST>>, one::<Works<CORRECT>>, WorkItem, "";
    work_item_is_waited_for_before_the_timer_that_queues_it_is_cancelled:
        one::<Works<WAITS_FIRST>>, one::<Works<CORRECT>>, WorkItem, "";
    work_item_is_freed_while_it_is_queued:
        one::<Works<FREES_ITEM_IN_USE>>, one::<Works<CORRECT>>, WorkItem, "";
    reference_of_a_timer_that_has_expired_is_released:
        two::<Expires<RELEASES_BOTH>>, two::<Expires<CORRECT>>, Dpc, "its memory is freed";
    block_is_freed_although_its_timer_has_expired:
        two::<Expires<FREES_AT_CANCEL>>, two::<Expires<CORRECT>>, Dpc, "its memory is freed";
    lookaside_list_is_deleted_before_the_dpc_that_frees_to_it_was_flushed:
        one::<Lookaside<DELETES_EARLY>>, one::<Lookaside<CORRECT>>, Pool, "lookaside";
    thread_is_waited_for_without_a_reference:
        one::<Thread<DEREFERENCES_FIRST>>, one::<Thread<CORRECT>>, SystemThread, "waits for the object";
    thread_is_waited_for_and_not_stopped:
        one::<Thread<DOES_NOT_STOP>>, one::<Thread<CORRECT>>, Hang, "waits";
}
