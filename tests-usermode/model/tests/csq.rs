//! Cancel-safe IRP queues: a correct driver in every order, the documented results, and the mistakes of a driver.

#[macro_use]
mod call;
mod steps;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, FILE_OBJECT, IO_CSQ, IO_CSQ_IRP_CONTEXT, IRP, KSPIN_LOCK, LIST_ENTRY, NTSTATUS,
    STATUS_CANCELLED, STATUS_DEVICE_BUSY, STATUS_NOT_FOUND, STATUS_PENDING, STATUS_SUCCESS,
    irp as io, list,
};
use ntmodel::{Config, Kernel, Rule};
use steps::{FIRST, SECOND, Stage, Steps, breaks, complete, end_of, holds, mark, one_request};

/// A deviation of the driver from the documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Nothing,
    /// `CsqRemoveIrp` leaves the IRP on the list.
    DoesNotUnlink,
    /// `CsqPeekNextIrp` returns the head of the list, regardless of the IRP that it is to continue after.
    PeeksHead,
    /// `CsqAcquireLock` raises the IRQL, and `CsqReleaseLock` does not lower it.
    ForgetsIrql,
    /// The driver uses `DriverContext[3]`.
    UsesWord,
    InsertsTwice,
    InitialisesNever,
    InitialisesWithoutPeek,
    InitialisesAgain,
    CompletesQueued,
}

/// The queue of a driver, as documented.
#[repr(C)]
struct Own {
    csq: UnsafeCell<IO_CSQ>,
    lock: UnsafeCell<KSPIN_LOCK>,
    head: UnsafeCell<LIST_ENTRY>,
    context: UnsafeCell<IO_CSQ_IRP_CONTEXT>,
    kept: Cell<*mut IRP>,
    inserted: Cell<u32>,
}

impl Own {
    fn of<'a>(csq: *mut IO_CSQ) -> &'a Self {
        // SAFETY: the queue is the first field, and stays.
        unsafe { &*csq.cast() }
    }

    fn initialise(&self, mistake: Mistake) {
        let peek: nt::PIO_CSQ_PEEK_NEXT_IRP = match mistake {
            Mistake::InitialisesWithoutPeek => None,
            Mistake::PeeksHead => Some(peek_head),
            _ => Some(peek),
        };
        let remove: nt::PIO_CSQ_REMOVE_IRP = match mistake {
            Mistake::DoesNotUnlink => Some(removes_not),
            _ => Some(remove),
        };
        let release: nt::PIO_CSQ_RELEASE_LOCK = match mistake {
            Mistake::ForgetsIrql => Some(release_to_dispatch),
            _ => Some(release),
        };
        let acquire: nt::PIO_CSQ_ACQUIRE_LOCK = match mistake {
            Mistake::ForgetsIrql => Some(raise_and_acquire),
            _ => Some(acquire),
        };
        let status = nt!(IoCsqInitialize(
            self.csq.get(),
            Some(insert),
            remove,
            peek,
            acquire,
            release,
            Some(complete_cancelled),
        ));
        assert_eq!(status, STATUS_SUCCESS);
    }

    fn remove_next(&self) -> *mut IRP {
        nt!(IoCsqRemoveNextIrp(self.csq.get(), null_mut()))
    }
}

unsafe extern "C" fn insert(csq: *mut IO_CSQ, irp: *mut IRP) {
    let own = Own::of(csq);
    own.inserted.set(own.inserted.get() + 1);
    // SAFETY: the lock of the queue is held.
    unsafe { list::InsertTailList(own.head.get(), io::list_entry(irp)) };
}

unsafe extern "C" fn remove(_: *mut IO_CSQ, irp: *mut IRP) {
    // SAFETY: as above.
    unsafe { list::RemoveEntryList(io::list_entry(irp)) };
}

unsafe extern "C" fn removes_not(_: *mut IO_CSQ, _: *mut IRP) {}

unsafe extern "C" fn peek(csq: *mut IO_CSQ, irp: *mut IRP, _: *mut c_void) -> *mut IRP {
    let head = Own::of(csq).head.get();
    let from = if irp.is_null() {
        head
    } else {
        io::list_entry(irp)
    };
    // SAFETY: as above.
    let next = unsafe { (*from).Flink };
    if next == head {
        return null_mut();
    }
    nt!(irp::from_list_entry(next))
}

unsafe extern "C" fn peek_head(csq: *mut IO_CSQ, _: *mut IRP, word: *mut c_void) -> *mut IRP {
    // SAFETY: passed on from the caller.
    unsafe { peek(csq, null_mut(), word) }
}

unsafe extern "C" fn acquire(csq: *mut IO_CSQ, irql: *mut u8) {
    let old = nt!(KeAcquireSpinLockRaiseToDpc(Own::of(csq).lock.get()));
    // SAFETY: the queue's routine passes a pointer to its IRQL.
    unsafe { *irql = old };
}

unsafe extern "C" fn release(csq: *mut IO_CSQ, irql: u8) {
    nt!(KeReleaseSpinLock(Own::of(csq).lock.get(), irql));
}

unsafe extern "C" fn raise_and_acquire(csq: *mut IO_CSQ, irql: *mut u8) {
    let old = nt!(KeRaiseIrqlToDpcLevel());
    // SAFETY: the queue's routine passes a pointer to its IRQL.
    unsafe { *irql = old };
    nt!(KeAcquireSpinLockAtDpcLevel(Own::of(csq).lock.get()));
}

unsafe extern "C" fn release_to_dispatch(csq: *mut IO_CSQ, _: u8) {
    nt!(KeReleaseSpinLockFromDpcLevel(Own::of(csq).lock.get()));
}

unsafe extern "C" fn complete_cancelled(_: *mut IO_CSQ, irp: *mut IRP) {
    complete(irp, STATUS_CANCELLED);
}

const NOTHING: u8 = Mistake::Nothing as u8;

struct Queues<const MISTAKE: u8>;

impl<const MISTAKE: u8> Queues<MISTAKE> {
    const fn has(mistake: Mistake) -> bool {
        MISTAKE == mistake as u8
    }

    const fn mistake() -> Mistake {
        const ALL: [Mistake; 10] = [
            Mistake::Nothing,
            Mistake::DoesNotUnlink,
            Mistake::PeeksHead,
            Mistake::ForgetsIrql,
            Mistake::UsesWord,
            Mistake::InsertsTwice,
            Mistake::InitialisesNever,
            Mistake::InitialisesWithoutPeek,
            Mistake::InitialisesAgain,
            Mistake::CompletesQueued,
        ];
        ALL[MISTAKE as usize]
    }
}

impl<const MISTAKE: u8> Steps for Queues<MISTAKE> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        nt!(KeInitializeSpinLock(own.lock.get()));
        // SAFETY: the lock and the list do not move.
        unsafe { list::InitializeListHead(own.head.get()) };
        if !Self::has(Mistake::InitialisesNever) {
            own.initialise(Self::mistake());
        }
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            nt!(IoCsqInsertIrp(own.csq.get(), irp, null_mut()));
            if Self::has(Mistake::InsertsTwice) {
                nt!(IoCsqInsertIrp(own.csq.get(), irp, null_mut()));
            }
            if Self::has(Mistake::UsesWord) {
                // SAFETY: the IRP is this routine's until it is on the queue.
                unsafe { io::set_driver_context::<3>(irp, irp.cast()) };
            }
            if Self::has(Mistake::InitialisesAgain) {
                own.initialise(Mistake::Nothing);
            }
            if Self::has(Mistake::CompletesQueued) {
                complete(irp, STATUS_SUCCESS);
            }
            return STATUS_PENDING;
        }
        let next = own.remove_next();
        if next.is_null() {
            return complete(irp, STATUS_NOT_FOUND);
        }
        complete(next, STATUS_SUCCESS);
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Own, _: *mut FILE_OBJECT) {
        loop {
            let next = own.remove_next();
            if next.is_null() {
                return;
            }
            complete(next, STATUS_CANCELLED);
        }
    }
}

/// Two requests are queued, one of them is cancelled, another one is removed as the next, and the file is closed.
fn queued_cancelled_and_taken<const MISTAKE: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queues<MISTAKE>>(kernel);
    let queued = Arc::new(stage.send(FIRST));
    let queued_clone = Arc::clone(&queued);
    let canceller = kernel.actor("canceller", move || queued_clone.cancel());
    let taken = end_of(&stage.send(SECOND));
    canceller.join();
    let expected = if taken == STATUS_SUCCESS {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    };
    kernel.verify(end_of(&queued) == expected, || {
        format!("the taker has ended with {taken:#x}")
    });
    let left = stage.send(FIRST);
    let Stage {
        driver,
        device,
        file,
        ..
    } = stage;
    drop(Arc::into_inner(file));
    kernel.verify(end_of(&left) == STATUS_CANCELLED, || {
        "a request is left after cleanup".into()
    });
    device.remove().expect("no file is open");
    driver.unload();
}

/// A request is inserted while another thread cancels it.
fn inserted_and_cancelled(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queues<NOTHING>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    let queued = stage.send(FIRST);
    canceller.join();
    let status = queued.status();
    kernel.verify(
        status.is_none_or(|status| status == STATUS_CANCELLED),
        || format!("{status:?}"),
    );
    stage.tear_down();
}

#[test]
fn a_correct_driver_breaks_no_rule_in_any_order() {
    holds(queued_cancelled_and_taken::<NOTHING>);
    holds(inserted_and_cancelled);
}

fn wrong<const MISTAKE: u8>(rule: Rule, text: &str) {
    breaks(queued_cancelled_and_taken::<MISTAKE>, rule, text);
}

#[test]
fn routines_of_a_queue_work_as_documented() {
    wrong::<{ Mistake::DoesNotUnlink as u8 }>(Rule::ListEntry, "which main has completed");
    wrong::<{ Mistake::PeeksHead as u8 }>(Rule::CancelSafeQueue, "CsqPeekNextIrp has returned IRP");
    wrong::<{ Mistake::ForgetsIrql as u8 }>(
        Rule::CancelSafeQueue,
        "CsqReleaseLock has returned at 2",
    );
}

#[test]
fn a_queue_is_initialised_once_with_every_routine() {
    let never = "was not initialised";
    wrong::<{ Mistake::InitialisesNever as u8 }>(Rule::CancelSafeQueue, never);
    let null = "with a routine that is NULL";
    wrong::<{ Mistake::InitialisesWithoutPeek as u8 }>(Rule::CancelSafeQueue, null);
    let again = "is initialised again while IRP";
    wrong::<{ Mistake::InitialisesAgain as u8 }>(Rule::CancelSafeQueue, again);
}

#[test]
fn a_queued_irp_belongs_to_the_queue() {
    let word = "DriverContext[3]";
    wrong::<{ Mistake::UsesWord as u8 }>(Rule::CancelSafeQueue, word);
    let twice = "but is already on one";
    wrong::<{ Mistake::InsertsTwice as u8 }>(Rule::CancelSafeQueue, twice);
    let queued = "while its Cancel routine is set";
    wrong::<{ Mistake::CompletesQueued as u8 }>(Rule::CompleteRequest, queued);
}

/// Inserts an IRP that it has kept, which can be cancelled by then.
struct InsertsLater;

impl Steps for InsertsLater {
    type Own = Own;

    fn add(device: *mut DEVICE_OBJECT, own: &Own) {
        Queues::<NOTHING>::add(device, own);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            own.kept.set(irp);
            return mark(irp);
        }
        let status = nt!(IoCsqInsertIrpEx(
            own.csq.get(),
            own.kept.get(),
            own.context.get(),
            null_mut()
        ));
        assert_eq!(status, STATUS_SUCCESS, "the queue has no CsqInsertIrpEx");
        let removed = nt!(IoCsqRemoveIrp(own.csq.get(), own.context.get()));
        assert_eq!(own.inserted.get(), 1);
        // It is NULL if the IRP was cancelled.
        if !removed.is_null() {
            assert_eq!(removed, own.kept.get());
            complete(removed, STATUS_SUCCESS);
        }
        assert!(own.remove_next().is_null(), "the queue is empty");
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn an_irp_that_was_cancelled_is_inserted_and_completed() {
    for cancels in [false, true] {
        let kernel = Kernel::new(Config::default());
        let stage = Stage::set::<InsertsLater>(&kernel);
        let kept = stage.send(FIRST);
        assert_eq!(kept.answer(), STATUS_PENDING);
        if cancels {
            kept.cancel();
            assert_eq!(kept.status(), None);
        }
        assert_eq!(end_of(&stage.send(SECOND)), STATUS_SUCCESS);
        let expected = [STATUS_SUCCESS, STATUS_CANCELLED][usize::from(cancels)];
        assert_eq!(kept.status(), Some(expected));
        stage.tear_down();
    }
}

/// The queue accepts one IRP with a context, and no other IRP.
struct Refuses;

unsafe extern "C" fn insert_one(csq: *mut IO_CSQ, irp: *mut IRP, word: *mut c_void) -> NTSTATUS {
    if word.is_null() {
        return STATUS_DEVICE_BUSY;
    }
    // SAFETY: passed on from the caller.
    unsafe { insert(csq, irp) };
    STATUS_SUCCESS
}

impl Steps for Refuses {
    type Own = Own;

    fn add(device: *mut DEVICE_OBJECT, own: &Own) {
        Queues::<NOTHING>::add(device, own);
        let status = nt!(IoCsqInitializeEx(
            own.csq.get(),
            Some(insert_one),
            Some(remove),
            Some(peek),
            Some(acquire),
            Some(release),
            Some(complete_cancelled),
        ));
        assert_eq!(status, STATUS_SUCCESS);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let csq = own.csq.get();
        let status = nt!(IoCsqInsertIrpEx(csq, irp, null_mut(), null_mut()));
        assert_eq!(
            status, STATUS_DEVICE_BUSY,
            "what CsqInsertIrpEx has returned"
        );
        let status = nt!(IoCsqInsertIrpEx(csq, irp, null_mut(), csq.cast()));
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(own.remove_next(), irp);
        complete(irp, STATUS_SUCCESS);
        STATUS_PENDING
    }
}

/// Completes an IRP that the queue has refused, which is not marked pending.
struct CompletesRefused;

impl Steps for CompletesRefused {
    type Own = Own;

    fn add(device: *mut DEVICE_OBJECT, own: &Own) {
        Refuses::add(device, own);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let status = nt!(IoCsqInsertIrpEx(own.csq.get(), irp, null_mut(), null_mut()));
        complete(irp, status)
    }
}

#[test]
fn insertion_returns_what_the_routine_of_the_queue_returns() {
    holds(one_request::<Refuses>);
    holds(one_request::<CompletesRefused>);
}
