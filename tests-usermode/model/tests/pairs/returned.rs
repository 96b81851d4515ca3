//! Objects in the stack frame of a routine that returns while the system still uses them.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    hint::black_box,
    mem::MaybeUninit,
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, IO_CSQ, IO_CSQ_IRP_CONTEXT, IRP, KDPC, KTIMER, LIST_ENTRY, NTSTATUS,
    STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS, irp as io,
};
use ntmodel::Kernel;

use crate::{
    frame::{CORRECT, Lock},
    steps::{
        FIRST, SECOND, Stage, Steps, complete, end_of, one_request as one, two_requests as two,
    },
};

const FAULTY: u8 = 1;

/// Queues a DPC or sets a timer that is in the device extension or on the stack.
struct Defers<const M: u8, const IS_TIMER: bool>;

struct Deferred {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

unsafe extern "C" fn does_nothing(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {}

fn defer(timer: *mut KTIMER, dpc: *mut KDPC, is_timer: bool) {
    if is_timer {
        nt!(KeInitializeTimer(timer));
        nt!(KeSetTimer(timer, -10, null_mut()));
    } else {
        nt!(KeInitializeDpc(dpc, Some(does_nothing), null_mut()));
        nt!(KeSetTargetProcessorDpc(dpc, 1));
        nt!(KeInsertQueueDpc(dpc, null_mut(), null_mut()));
    }
}

impl<const M: u8, const IS_TIMER: bool> Steps for Defers<M, IS_TIMER> {
    type Own = Deferred;

    fn control(_: *mut DEVICE_OBJECT, own: &Deferred, irp: *mut IRP, _: u32) -> NTSTATUS {
        if M == FAULTY {
            let mut timer = MaybeUninit::<KTIMER>::uninit();
            let mut dpc = MaybeUninit::<KDPC>::uninit();
            defer(timer.as_mut_ptr(), dpc.as_mut_ptr(), IS_TIMER);
            black_box(());
        } else {
            defer(own.timer.get(), own.dpc.get(), IS_TIMER);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Deferred) {
        if IS_TIMER && M == CORRECT {
            nt!(KeCancelTimer(own.timer.get()));
        }
        nt!(KeFlushQueuedDpcs());
    }
}

/// Inserts an entry on the stack into a list, and removes it before the routine returns or does not.
struct Links<const M: u8>;

struct Linked {
    lock: Lock,
    head: UnsafeCell<LIST_ENTRY>,
}

impl<const M: u8> Steps for Links<M> {
    type Own = Linked;

    fn add(_: *mut DEVICE_OBJECT, own: &Linked) {
        own.lock.initialise();
        nt!(list::InitializeListHead(own.head.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Linked, irp: *mut IRP, _: u32) -> NTSTATUS {
        let mut entry = MaybeUninit::<LIST_ENTRY>::uninit();
        let entry = entry.as_mut_ptr();
        own.lock
            .with(|| nt!(list::InsertTailList(own.head.get(), entry)));
        if M == CORRECT {
            own.lock.with(|| nt!(list::RemoveEntryList(entry)));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// Queues an IRP with a context in its `DriverContext` or on the stack.
struct Queues<const M: u8>;

#[repr(C)]
struct Queue {
    csq: UnsafeCell<IO_CSQ>,
    lock: Lock,
    head: UnsafeCell<LIST_ENTRY>,
    context: UnsafeCell<IO_CSQ_IRP_CONTEXT>,
    irp: Cell<*mut IRP>,
}

fn queue<'a>(csq: *mut IO_CSQ) -> &'a Queue {
    // SAFETY: the queue is the first field of the driver's data.
    unsafe { &*csq.cast() }
}

unsafe extern "C" fn insert(csq: *mut IO_CSQ, irp: *mut IRP) {
    nt!(list::InsertTailList(
        queue(csq).head.get(),
        io::list_entry(irp)
    ));
}

unsafe extern "C" fn remove(_: *mut IO_CSQ, irp: *mut IRP) {
    nt!(list::RemoveEntryList(io::list_entry(irp)));
}

unsafe extern "C" fn peek(csq: *mut IO_CSQ, after: *mut IRP, _: *mut c_void) -> *mut IRP {
    let head = queue(csq).head.get();
    let from = if after.is_null() {
        head
    } else {
        io::list_entry(after)
    };
    // SAFETY: the lock of the queue is held.
    let next = unsafe { (*from).Flink };
    if next == head {
        null_mut()
    } else {
        nt!(irp::from_list_entry(next))
    }
}

unsafe extern "C" fn acquire(csq: *mut IO_CSQ, irql: *mut u8) {
    let saved = queue(csq).lock.acquire();
    // SAFETY: the routine passes memory for an IRQL.
    unsafe { irql.write(saved) };
}

unsafe extern "C" fn release(csq: *mut IO_CSQ, irql: u8) {
    queue(csq).lock.release(irql);
}

unsafe extern "C" fn end(_: *mut IO_CSQ, irp: *mut IRP) {
    complete(irp, STATUS_CANCELLED);
}

/// The context is on the stack.
const ON_STACK: u8 = 2;
/// The IRP is completed although `IoCsqRemoveIrp` has not returned it.
const IGNORES_CANCELLATION: u8 = 3;

impl<const M: u8> Steps for Queues<M> {
    type Own = Queue;

    fn add(_: *mut DEVICE_OBJECT, own: &Queue) {
        own.lock.initialise();
        nt!(list::InitializeListHead(own.head.get()));
        let status = nt!(IoCsqInitialize(
            own.csq.get(),
            Some(insert),
            Some(remove),
            Some(peek),
            Some(acquire),
            Some(release),
            Some(end)
        ));
        assert_eq!(status, STATUS_SUCCESS);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Queue, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            let mut context = MaybeUninit::<IO_CSQ_IRP_CONTEXT>::uninit();
            let on_stack = context.as_mut_ptr();
            let context = if M == ON_STACK {
                on_stack
            } else {
                own.context.get()
            };
            own.irp.set(irp);
            nt!(IoCsqInsertIrp(own.csq.get(), irp, context));
            return STATUS_PENDING;
        }
        let kept = own.irp.take();
        let removed = nt!(IoCsqRemoveIrp(own.csq.get(), own.context.get()));
        let ended = if M == IGNORES_CANCELLATION {
            kept
        } else {
            removed
        };
        if !ended.is_null() {
            complete(ended, STATUS_SUCCESS);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Queue, _: *mut nt::FILE_OBJECT) {
        loop {
            let irp = nt!(IoCsqRemoveNextIrp(own.csq.get(), null_mut()));
            if irp.is_null() {
                return;
            }
            complete(irp, STATUS_CANCELLED);
        }
    }
}

/// Queues a request, and closes its file.
fn queued<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queues<M>>(kernel);
    stage.send(FIRST);
    stage.tear_down();
}

/// Cancels a queued request while another request has the driver complete it.
fn cancelled<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queues<M>>(kernel);
    let queued = Arc::new(stage.send(FIRST));
    let same = Arc::clone(&queued);
    let canceller = kernel.actor("canceller", move || {
        same.cancel();
    });
    end_of(&stage.send(SECOND));
    canceller.join();
    end_of(&queued);
    drop(queued);
    stage.tear_down();
}

pairs! {
    timer_on_a_stack_that_was_freed_is_set:
        one::<Defers<FAULTY, true>>, one::<Defers<CORRECT, true>>, Dpc, "on the stack";
    dpc_on_a_stack_that_was_freed_is_queued:
        one::<Defers<FAULTY, false>>, one::<Defers<CORRECT, false>>, Dpc, "on the stack";
    entry_on_a_stack_that_was_freed_is_on_a_list:
        two::<Links<FAULTY>>, two::<Links<CORRECT>>, ListEntry, "its next entry is";
    context_of_a_queued_irp_is_on_a_stack_that_was_freed:
        queued::<ON_STACK>, queued::<CORRECT>, Pointer, "on the stack";
    irp_is_completed_that_was_not_removed_from_its_queue:
        cancelled::<IGNORES_CANCELLATION>, cancelled::<CORRECT>, CompletedIrp, "has completed it";
}
