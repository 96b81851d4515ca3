//! Timers, DPCs, work items and threads, and how they end.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::atomic::AtomicI32,
};

use nt::{
    DEVICE_OBJECT, IO_WORKITEM, IRP, KDPC, KEVENT, KTIMER, NTSTATUS, STATUS_PENDING,
    STATUS_SUCCESS,
    interlocked::{InterlockedCompareExchange, InterlockedExchange, InterlockedIncrement},
};

use crate::{
    call::{initialise_dpc, join_thread, queue_work, start_thread, wait},
    frame::{CORRECT, Lock, allocate, free, initialise_event, set_event},
    steps::{Steps, complete, mark, one_request as one, own, two_requests as two},
};

const FREES_AFTER_CANCEL: u8 = 1;
const REARMS: u8 = 2;
const FREES_AFTER_REMOVE: u8 = 3;
const KEEPS_LOCK: u8 = 4;
const LEAVES_TIMER: u8 = 5;
/// The correct drivers whose DPC sets its timer again, and that queue a DPC without a timer.
const REARMS_UNTIL_STOPPED: u8 = 6;
const FLUSHES_AFTER_REMOVE: u8 = 7;

/// A request of a driver: a block with a timer and its DPC.
struct Block {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    lock: Lock,
    stopped: AtomicI32,
    expired: AtomicI32,
}

struct Timed<const M: u8>;

fn expired<const M: u8>(block: &Block) {
    nt!(KeAcquireSpinLockAtDpcLevel(block.lock.get()));
    let first = InterlockedIncrement(&block.expired) == 1;
    if first
        && (M == REARMS
            || M == REARMS_UNTIL_STOPPED && InterlockedCompareExchange(&block.stopped, 0, 0) == 0)
    {
        nt!(KeSetTimer(block.timer.get(), -10, block.dpc.get()));
    }
    if M != KEEPS_LOCK {
        nt!(KeReleaseSpinLockFromDpcLevel(block.lock.get()));
    }
}

impl<const M: u8> Steps for Timed<M> {
    type Own = Cell<*mut Block>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        let block = allocate::<Block>();
        own.set(block);
        // SAFETY: the block was allocated, and zero is valid for it.
        let block = unsafe { &*block };
        block.lock.initialise();
        nt!(KeInitializeTimer(block.timer.get()));
        initialise_dpc(block.dpc.get(), block, expired::<M>);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        // SAFETY: the block is freed when the device is removed.
        let block = unsafe { &*own.get() };
        nt!(KeSetTimer(block.timer.get(), -10, block.dpc.get()));
        complete(irp, STATUS_SUCCESS)
    }

    fn unload() {
        nt!(KeFlushQueuedDpcs());
    }

    fn remove(own: &Self::Own) {
        // SAFETY: as above.
        let block = unsafe { &*own.get() };
        match M {
            FREES_AFTER_REMOVE | FLUSHES_AFTER_REMOVE => {
                nt!(KeCancelTimer(block.timer.get()));
                nt!(KeRemoveQueueDpc(block.dpc.get()));
                if M == FLUSHES_AFTER_REMOVE {
                    nt!(KeFlushQueuedDpcs());
                }
            }
            REARMS_UNTIL_STOPPED => {
                InterlockedExchange(&block.stopped, 1);
                nt!(KeCancelTimer(block.timer.get()));
                nt!(KeFlushQueuedDpcs());
                // The DPC may have set it before it saw the flag.
                nt!(KeCancelTimer(block.timer.get()));
                nt!(KeFlushQueuedDpcs());
            }
            LEAVES_TIMER => {}
            _ => {
                nt!(KeCancelTimer(block.timer.get()));
                if M != FREES_AFTER_CANCEL {
                    nt!(KeFlushQueuedDpcs());
                }
            }
        }
        free(own.get());
    }
}

const LOSES_REQUEST: u8 = 1;
const CLEARS_FLAG_LATE: u8 = 2;
const CLEARS_EVENT_LATE: u8 = 3;
/// The correct drivers, by the routine that serves the requests.
const DPC: u8 = 10;
const WORK_ITEM: u8 = 11;
const THREAD: u8 = 12;

/// Pends each request in a list, which a DPC, a work item or a thread serves.
struct Serves<const M: u8>;

struct Served {
    lock: Lock,
    /// Two requests at most.
    pending: [Cell<*mut IRP>; 2],
    dpc: UnsafeCell<KDPC>,
    queued: AtomicI32,
    event: UnsafeCell<KEVENT>,
    stopped: AtomicI32,
    thread: Cell<*mut c_void>,
}

impl Served {
    fn insert(&self, irp: *mut IRP) {
        self.lock.with(|| {
            let free = self.pending.iter().find(|place| place.get().is_null());
            free.expect("two at most").set(irp);
        });
    }

    /// Completes the pending requests.
    fn serve(&self) {
        loop {
            let irp = self.lock.with(|| {
                let kept = self.pending.iter().find(|place| !place.get().is_null());
                kept.map(|place| place.replace(null_mut()))
            });
            let Some(irp) = irp else { return };
            complete(irp, STATUS_SUCCESS);
        }
    }
}

fn served<'a>(context: *mut c_void) -> &'a Served {
    // SAFETY: the context is the driver's data, which stays while requests are served.
    unsafe { &*context.cast() }
}

unsafe extern "C" fn serves_in_dpc<const M: u8>(
    _: *mut KDPC,
    own: *mut c_void,
    irp: *mut c_void,
    _: *mut c_void,
) {
    if M == LOSES_REQUEST {
        complete(irp.cast(), STATUS_SUCCESS);
    } else {
        served(own).serve();
    }
}

unsafe extern "C" fn serves_in_item<const M: u8>(device: *mut DEVICE_OBJECT, item: *mut c_void) {
    nt!(IoFreeWorkItem(item.cast::<IO_WORKITEM>()));
    let own = own::<Serves<M>>(device);
    if M == CLEARS_FLAG_LATE {
        own.serve();
        InterlockedExchange(&own.queued, 0);
    } else {
        InterlockedExchange(&own.queued, 0);
        own.serve();
    }
}

unsafe extern "C" fn serves_in_thread<const M: u8>(own: *mut c_void) {
    let own = served(own);
    loop {
        wait(own.event.get());
        if M != CLEARS_EVENT_LATE {
            nt!(KeClearEvent(own.event.get()));
        }
        own.serve();
        if InterlockedCompareExchange(&own.stopped, 0, 0) != 0 {
            return;
        }
        if M == CLEARS_EVENT_LATE {
            nt!(KeClearEvent(own.event.get()));
        }
    }
}

impl<const M: u8> Steps for Serves<M> {
    type Own = Served;

    fn add(_: *mut DEVICE_OBJECT, own: &Served) {
        own.lock.initialise();
        let context = from_ref(own).cast_mut().cast();
        nt!(KeInitializeDpc(
            own.dpc.get(),
            Some(serves_in_dpc::<M>),
            context
        ));
        match M {
            THREAD | CLEARS_EVENT_LATE => {
                let kind = nt::_EVENT_TYPE::NotificationEvent;
                nt!(KeInitializeEvent(own.event.get(), kind, 0));
                own.thread.set(start_thread(serves_in_thread::<M>, own));
            }
            _ => {}
        }
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Served, irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        if M != LOSES_REQUEST {
            own.insert(irp);
        }
        match M {
            WORK_ITEM | CLEARS_FLAG_LATE => {
                if InterlockedExchange(&own.queued, 1) == 0 {
                    let item = nt!(IoAllocateWorkItem(device));
                    queue_work(item, serves_in_item::<M>, item.cast());
                }
            }
            THREAD | CLEARS_EVENT_LATE => set_event(own.event.get()),
            _ => {
                nt!(KeInsertQueueDpc(own.dpc.get(), irp.cast(), null_mut()));
            }
        }
        STATUS_PENDING
    }

    fn remove(own: &Served) {
        match M {
            THREAD | CLEARS_EVENT_LATE => {
                InterlockedExchange(&own.stopped, 1);
                set_event(own.event.get());
                join_thread(own.thread.get());
            }
            _ => nt!(KeFlushQueuedDpcs()),
        }
    }
}

const FREES_IN_EARLY_ROUTINE: u8 = 1;

/// Each request waits for an event in a separate block. A DPC sets the event.
struct Waits<const M: u8>;

struct Waited {
    lock: Lock,
    event: UnsafeCell<KEVENT>,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

fn sets<const M: u8>(block: &Waited) {
    if M == FREES_IN_EARLY_ROUTINE {
        set_event(block.event.get());
        nt!(KeAcquireSpinLockAtDpcLevel(block.lock.get()));
        nt!(KeReleaseSpinLockFromDpcLevel(block.lock.get()));
    } else {
        nt!(KeAcquireSpinLockAtDpcLevel(block.lock.get()));
        nt!(KeReleaseSpinLockFromDpcLevel(block.lock.get()));
        set_event(block.event.get());
    }
}

impl<const M: u8> Steps for Waits<M> {
    type Own = u64;

    fn unload() {
        nt!(KeFlushQueuedDpcs());
    }

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let memory = allocate::<Waited>();
        // SAFETY: the block was allocated, and zero is valid for it.
        let block = unsafe { &*memory };
        block.lock.initialise();
        initialise_event(block.event.get());
        initialise_dpc(block.dpc.get(), block, sets::<M>);
        nt!(KeInitializeTimer(block.timer.get()));
        nt!(KeSetTimer(block.timer.get(), -10, block.dpc.get()));
        wait(block.event.get());
        free(memory);
        complete(irp, STATUS_SUCCESS)
    }
}

pairs! {
    timer_is_cancelled_and_freed_while_its_dpc_runs:
        one::<Timed<FREES_AFTER_CANCEL>>, one::<Timed<CORRECT>>, Dpc, "is queued, but its memory is freed";
    dpc_sets_its_timer_again_while_it_is_cancelled:
        one::<Timed<REARMS>>, one::<Timed<REARMS_UNTIL_STOPPED>>, Dpc, "";
    dpc_is_removed_and_freed_while_it_runs:
        one::<Timed<FREES_AFTER_REMOVE>>, one::<Timed<FLUSHES_AFTER_REMOVE>>, FreedMemory, "";
    dpc_keeps_its_spin_lock:
        one::<Timed<KEEPS_LOCK>>, one::<Timed<CORRECT>>, SpinLock, "";
    timer_is_freed_while_it_is_set:
        one::<Timed<LEAVES_TIMER>>, one::<Timed<CORRECT>>, Dpc, "";
    dpc_is_queued_already_and_loses_a_request:
        two::<Serves<LOSES_REQUEST>>, two::<Serves<DPC>>, IrpProcessingComplete, "";
    work_item_is_not_queued_since_the_last_one_still_runs:
        two::<Serves<CLEARS_FLAG_LATE>>, two::<Serves<WORK_ITEM>>, IrpProcessingComplete, "";
    event_is_cleared_after_it_was_set_again:
        two::<Serves<CLEARS_EVENT_LATE>>, two::<Serves<THREAD>>, Hang, "waits for the end of a thread";
    block_is_used_after_the_event_for_its_free_was_set:
        one::<Waits<FREES_IN_EARLY_ROUTINE>>, one::<Waits<CORRECT>>, FreedMemory, "";
}
