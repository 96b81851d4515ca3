//! A filter driver above a function driver: the pending bit is propagated as by the I/O manager, and a missing propagation is found.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ffi::c_void,
    marker::PhantomData,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use call::{broke, on_completion, sets_event, wait};
use common::{event, found_in, initialise};
use nt::{
    DEVICE_OBJECT, IRP, KEVENT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED,
    STATUS_NOT_FOUND, STATUS_PENDING, STATUS_SUCCESS, irp as io,
};
use ntmodel::{
    Config, Kernel, Rule,
    explore::{Search, explore},
};
use steps::{Stage, Steps, cancel, end_of, entry, lower, mark, skip};

/// The IOCTLs of the function driver: keep this request, complete the one that is kept, complete this one immediately.
const PEND: u32 = 0x22_2000;
const COMPLETE: u32 = 0x22_2004;
const NOW: u32 = 0x22_2008;
/// Complete this one with `Information` 2, and with an error if it has an input.
const INFORM: u32 = 0x22_2010;
/// Insert this one into two lists.
const TWO_LISTS: u32 = 0x22_2014;
/// Keep this request until it is cancelled.
const CANCELABLE: u32 = 0x22_200c;

/// An interlocked list.
struct List {
    head: LIST_ENTRY,
    lock: KSPIN_LOCK,
}

impl List {
    fn initialise(&mut self) {
        nt!(list::InitializeListHead(&raw mut self.head));
        nt!(KeInitializeSpinLock(&raw mut self.lock));
    }

    fn insert(&mut self, irp: *mut IRP) {
        let (head, lock) = (&raw mut self.head, &raw mut self.lock);
        nt!(ExInterlockedInsertTailList(head, io::list_entry(irp), lock));
    }
}

fn complete(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: the IRP is the caller's, and so is DriverContext, which the entry overlays. The bytes mean nothing.
    unsafe { io::device_queue_entry(irp).write_bytes(1, 1) };
    steps::complete(irp, status)
}

struct Function;

impl Steps for Function {
    /// The IRP that is kept.
    type Own = AtomicPtr<IRP>;

    fn control(_: *mut DEVICE_OBJECT, kept: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        match code {
            PEND | CANCELABLE => {
                mark(irp);
                if code == CANCELABLE {
                    nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
                }
                // Read by the thread that completes it.
                nt::interlocked::YieldProcessor();
                kept.store(irp, SeqCst);
                STATUS_PENDING
            }
            COMPLETE => {
                nt::interlocked::YieldProcessor();
                let pended = kept.swap(null_mut(), SeqCst);
                if pended.is_null() {
                    return complete(irp, STATUS_NOT_FOUND);
                }
                complete(pended, STATUS_SUCCESS);
                complete(irp, STATUS_SUCCESS)
            }
            TWO_LISTS => {
                // SAFETY: every field may be zero.
                let mut lists: [List; 2] = unsafe { std::mem::zeroed() };
                for list in &mut lists {
                    list.initialise();
                    list.insert(irp);
                }
                STATUS_SUCCESS
            }
            INFORM => {
                let has_input = nt!(irp::io_control(irp)).input_length != 0;
                let status = if has_input {
                    STATUS_NOT_FOUND
                } else {
                    STATUS_SUCCESS
                };
                nt!(irp::set_status(irp, status));
                nt!(irp::set_information(irp, 2));
                nt!(IofCompleteRequest(irp, nt::IO_NO_INCREMENT));
                status
            }
            _ => complete(irp, STATUS_SUCCESS),
        }
    }

    fn cancel(kept: &Self::Own, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        nt!(IoReleaseCancelSpinLock(irql));
        // The filter's device object keeps no IRP.
        let kept = kept.swap(null_mut(), SeqCst);
        assert_eq!(
            kept, irp,
            "the Cancel routine gets this driver's own device object"
        );
        complete(irp, STATUS_CANCELLED);
    }
}

/// How a filter passes an `IRP_MJ_DEVICE_CONTROL` on.
trait Filter: 'static {
    /// The flags of its device object.
    const FLAGS: u32 = nt::DO_BUFFERED_IO;
    /// Whether it waits for the lower driver, so that another thread has to complete the request.
    const WAITS: bool = false;

    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS;
}

/// The driver of a filter.
struct Filtered<F>(PhantomData<F>);

impl<F: Filter> Steps for Filtered<F> {
    type Own = AtomicPtr<IRP>;

    const FLAGS: u32 = F::FLAGS;

    fn other(device: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP) -> NTSTATUS {
        skip(lower::<Self>(device), irp)
    }

    fn control(device: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        F::pass(lower::<Self>(device), irp)
    }
}

/// Starts a device with a filter above the function driver.
fn start<F: Filter>(kernel: &Arc<Kernel>) -> Stage {
    Stage::stack(kernel, entry::<Function>, &[entry::<Filtered<F>>])
}

fn call(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(IofCallDriver(lower, irp))
}

fn copy(irp: *mut IRP) {
    nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
}

struct Skips;

impl Filter for Skips {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        skip(lower, irp)
    }
}

struct Copies;

impl Filter for Copies {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp);
        call(lower, irp)
    }
}

unsafe extern "C" fn propagates(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
    if nt!(irp::pending_returned(irp)) {
        mark(irp);
    }
    STATUS_SUCCESS
}

struct Propagates;

impl Filter for Propagates {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp);
        on_completion(irp, propagates, null_mut());
        call(lower, irp)
    }
}

/// Pends every request, regardless of the lower driver.
struct PendsAll;

unsafe extern "C" fn continues(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

impl Filter for PendsAll {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp);
        on_completion(irp, continues, null_mut());
        mark(irp);
        call(lower, irp);
        STATUS_PENDING
    }
}

/// Waits for a request that the lower driver pends, and completes it.
struct Waits;

impl Filter for Waits {
    const WAITS: bool = true;

    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let mut done = event();
        let done: *mut KEVENT = &raw mut done;
        initialise(done);
        copy(irp);
        on_completion(irp, sets_event, done.cast());
        if call(lower, irp) == STATUS_PENDING {
            wait(done);
        }
        complete(irp, nt!(irp::status(irp)))
    }
}

/// Sends a request that is completed immediately, and one that another request completes.
fn live<F: Filter>(kernel: &Arc<Kernel>) {
    let stage = start::<F>(kernel);
    assert_eq!(end_of(&stage.send(NOW)), STATUS_SUCCESS);
    let file_clone = Arc::clone(&stage.file);
    let completer = F::WAITS.then(|| {
        kernel.actor("completer", move || {
            let complete = || file_clone.device_control(COMPLETE, &[], Vec::new());
            while complete().answer() != STATUS_SUCCESS {
                std::thread::yield_now();
            }
        })
    });
    let pended = stage.send(PEND);
    match completer {
        Some(completer) => completer.join(),
        None => assert_eq!(end_of(&stage.send(COMPLETE)), STATUS_SUCCESS),
    }
    assert_eq!(end_of(&pended), STATUS_SUCCESS);
    stage.tear_down();
}

/// Sends a request that another thread completes during the call or later.
fn once<F: Filter>(kernel: &Arc<Kernel>) {
    let stage = start::<F>(kernel);
    let file_clone = Arc::clone(&stage.file);
    let completer = kernel.actor("completer", move || {
        end_of(&file_clone.device_control(COMPLETE, &[], Vec::new()))
    });
    let pended = stage.send(PEND);
    if completer.join() == STATUS_NOT_FOUND {
        let _ = stage.send(COMPLETE);
    }
    assert_eq!(end_of(&pended), STATUS_SUCCESS);
    stage.tear_down();
}

fn passes<F: Filter>() {
    let kernel = Kernel::new(Config::default());
    live::<F>(&kernel);
    assert!(kernel.violation().is_none());
}

fn passes_in_any_order<F: Filter>() {
    passes::<F>();
    let explored = explore(Search::every(100_000), once::<F>);
    let explored = explored.unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}

#[test]
fn a_filter_that_skips_its_stack_location_returns_what_the_lower_driver_returned() {
    passes_in_any_order::<Skips>();
}

#[test]
fn a_filter_that_copies_its_stack_location_needs_no_routine() {
    passes_in_any_order::<Copies>();
}

#[test]
fn a_completion_routine_propagates_pending() {
    passes_in_any_order::<Propagates>();
}

#[test]
fn a_filter_may_pend_every_request() {
    passes_in_any_order::<PendsAll>();
}

#[test]
fn a_filter_may_wait_for_the_lower_driver_and_complete_the_request() {
    // In an exploration one thread sends both requests, so this one would wait for itself.
    passes::<Waits>();
}

#[test]
fn the_cancel_routine_gets_the_device_object_of_the_driver_that_set_it() {
    let kernel = Kernel::new(Config::default());
    let stage = start::<Copies>(&kernel);
    let request = stage.send(CANCELABLE);
    assert!(request.cancel());
    assert_eq!(request.status(), Some(STATUS_CANCELLED));
    stage.tear_down();
}

/// Its completion routine does not propagate the pending bit.
struct Loses;

impl Filter for Loses {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp);
        on_completion(irp, continues, null_mut());
        call(lower, irp)
    }
}

/// Returns success, regardless of the status of the lower driver.
struct ReturnsSuccess;

impl Filter for ReturnsSuccess {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        Copies::pass(lower, irp);
        STATUS_SUCCESS
    }
}

/// Marks every request, and returns what the lower driver returned.
struct MarksAll;

impl Filter for MarksAll {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        mark(irp);
        Copies::pass(lower, irp)
    }
}

/// Returns `STATUS_PENDING`, regardless of the status of the lower driver.
struct ReturnsPending;

impl Filter for ReturnsPending {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        Copies::pass(lower, irp);
        STATUS_PENDING
    }
}

/// Does not have the flags of the lower device object.
struct OtherFlags;

impl Filter for OtherFlags {
    const FLAGS: u32 = 0;

    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        Copies::pass(lower, irp)
    }
}

fn stops<F: Filter>(rule: Rule, first: u64) {
    let violation = found_in(live::<F>);
    broke(&violation, rule, 0xc9, &[first]);
}

#[test]
fn a_completion_routine_does_not_propagate_pending() {
    stops::<Loses>(Rule::PendingReturned, 0x228);
}

#[test]
fn a_filter_returns_something_else_than_the_lower_driver() {
    stops::<ReturnsSuccess>(Rule::LowerDriverReturn, 0x226);
    stops::<MarksAll>(Rule::MarkIrpPending, 0x23e);
    stops::<ReturnsPending>(Rule::PendedCompletedRequest, 0x23d);
}

#[test]
fn a_filter_does_not_copy_the_flags() {
    stops::<OtherFlags>(Rule::DeviceFlags, 0x244);
}

/// Sends the function driver a request with buffers of these lengths.
fn send(kernel: &Arc<Kernel>, code: u32, input: usize, output: usize) {
    let stage = Stage::set::<Function>(kernel);
    let _ = stage
        .file
        .device_control(code, &vec![0; input], vec![0; output]);
    stage.tear_down();
}

#[test]
fn information_exceeds_the_buffer() {
    let kernel = Kernel::new(Config::default());
    send(&kernel, INFORM, 0, 2);
    // Nothing is copied.
    send(&kernel, INFORM, 0, 0);
    // The value of an error is not checked.
    send(&kernel, INFORM, 1, 0);
    let violation = found_in(|kernel| send(kernel, INFORM, 0, 1));
    broke(&violation, Rule::Information, 0xc9, &[0x312]);
}

#[test]
fn a_request_is_on_two_lists() {
    let violation = found_in(|kernel| send(kernel, TWO_LISTS, 0, 0));
    broke(&violation, Rule::ListEntry, 0x139, &[3]);
}
