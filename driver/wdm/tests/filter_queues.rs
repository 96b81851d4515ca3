//! A filter that keeps requests on a queue and forwards them later, and that fails to start.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use common::{Controlled, Controls, Quiet, Stack, code, end, kernel, load, load_filter, status};
use ntmodel::{Driver, File, Kernel, Request, explore};
use pinned_init::PinInit;
use wdm::{
    Error, Filter, Handled, InterlockedLong, Irp, IrpQueue, MajorFunction, NewDevice, NewFilter,
    NtStatus, PassiveLevel, Shared, WorkItem, WorkItemRoutine, irql::CallerLevel,
};

/// Kept by the filter until a request to resume.
const HOLD: u32 = code(0x800);
const RESUME: u32 = code(0x801);
/// As `HOLD`, with an input that only the lower driver can access.
const HOLD_NEITHER: u32 = code(0x802) | 3; // METHOD_NEITHER

/// The function driver below the filter.
struct LowerDriver;

impl Controls for LowerDriver {
    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self)
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete_with(&7_u32, irql)
    }
}

/// The address of the input that the lower driver gets with `METHOD_NEITHER`. The model sends NULL.
static INPUT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The device control of the lower driver, which is one in C.
unsafe extern "C" fn read_input(_: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: this routine owns the IRP. The fourth parameter is `Type3InputBuffer`.
    let input = unsafe { nt::irp::argument4(irp) };
    INPUT.store(input.addr(), SeqCst);
    // SAFETY: this routine owns the IRP, and gives it up.
    unsafe { nt::irp::set_status(irp, nt::STATUS_SUCCESS) };
    // SAFETY: as above.
    unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
    nt::STATUS_SUCCESS
}

unsafe extern "C" fn entry_in_c(
    driver: *mut nt::DRIVER_OBJECT,
    path: *mut nt::UNICODE_STRING,
) -> i32 {
    // SAFETY: the kernel passes both.
    let status = unsafe { wdm::entry::<Controlled<LowerDriver>>(driver, path) };
    // SAFETY: as above.
    unsafe { (*driver).MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(read_input) };
    status
}

struct Resume(Shared<IrpQueue<Quiet<true>>>);

impl WorkItemRoutine for Resume {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        while let Some(irp) = item.0.remove_first(irql) {
            irp.forward(irql);
        }
    }
}

/// The filter.
struct Gate {
    queue: Shared<IrpQueue<Quiet<true>>>,
    resume: Shared<WorkItem<Resume>>,
    starts: InterlockedLong,
}

impl Filter for Gate {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Quiet, device, irql)?;
        let resume = WorkItem::new(Ok::<_, Error>(Resume(queue.clone())), device, irql)?;
        Ok(Ok::<_, Error>(Self {
            queue,
            resume,
            starts: InterlockedLong::new(0),
        }))
    }

    /// Fails the second time.
    fn start(&self, _: &mut PassiveLevel) -> Result<(), Error> {
        match self.starts.increment() {
            1 => Ok(()),
            _ => Err(Error::DEVICE_NOT_CONNECTED),
        }
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        if irp.major() != MajorFunction::DeviceControl {
            return irp.forward(irql);
        }
        match irp.code() {
            HOLD | HOLD_NEITHER => self.queue.insert(irp, irql),
            RESUME => {
                WorkItem::queue(&self.resume, irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => irp.forward(irql),
        }
    }
}

fn stack(kernel: &Arc<Kernel>, lower: Driver) -> Stack {
    Stack::new(lower).filter(load_filter::<Gate>(kernel))
}

fn started(kernel: &Arc<Kernel>) -> Stack {
    stack(kernel, load::<Controlled<LowerDriver>>(kernel)).started()
}

fn send(file: &File, code: u32) -> Request {
    file.device_control(code, &[], vec![0; 4])
}

#[test]
fn queued_request_is_forwarded_later() {
    let stack = started(&kernel());
    let file = stack.open();
    let [cancelled, first, second] = [(); 3].map(|()| send(&file, HOLD));
    assert!(cancelled.cancel());
    assert_eq!(cancelled.status(), Some(nt::STATUS_CANCELLED));
    assert_eq!((first.status(), second.status()), (None, None));
    assert_eq!(send(&file, RESUME).answer(), 0);
    for waiting in [first, second] {
        let end = end(&waiting);
        assert_eq!((end.status, end.output), (0, 7_u32.to_ne_bytes().to_vec()));
    }
    file.close();
    stack.unload();
}

#[test]
fn closing_a_handle_cancels_its_requests() {
    let stack = started(&kernel());
    let (file, other) = (stack.open(), stack.open());
    // More than are examined under one acquisition of the lock.
    let of_file: Vec<_> = (0..150).map(|_| send(&file, HOLD)).collect();
    let of_other: Vec<_> = (0..150).map(|_| send(&other, HOLD)).collect();
    let mixed: Vec<_> = (0..150)
        .map(|_| [send(&file, HOLD), send(&other, HOLD)])
        .collect();
    file.close_handle();
    let (cancelled, kept): (Vec<_>, Vec<_>) = mixed.into_iter().map(|[a, b]| (a, b)).unzip();
    for request in of_file.iter().chain(&cancelled) {
        assert_eq!(request.status(), Some(nt::STATUS_CANCELLED));
    }
    file.close();
    // The file object may have the address of the closed one.
    for _ in 0..4 {
        let next = stack.open();
        let waiting = send(&next, HOLD);
        assert_eq!(waiting.status(), None);
        assert!(waiting.cancel());
        next.close();
    }
    for request in of_other.iter().chain(&kept) {
        assert_eq!(request.status(), None);
    }
    stack.device.surprise_remove();
    for request in of_other.iter().chain(&kept) {
        assert_eq!(status(request), nt::STATUS_DELETE_PENDING);
    }
    other.close();
    stack.unload();
}

#[test]
fn filter_that_does_not_start_fails_the_start() {
    let stack = started(&kernel());
    let result = stack.device.start();
    assert_eq!(result, Err(Error::DEVICE_NOT_CONNECTED.to_raw()));
    assert!(stack.device.is_removed());
    stack.unload();
}

#[test]
fn lower_driver_gets_the_parameters_that_were_sent() {
    let kernel = kernel();
    // SAFETY: the entry point is that of a driver on wdm, except for the routine above.
    let lower = unsafe { Driver::load(&kernel, entry_in_c) }.expect("DriverEntry");
    let stack = stack(&kernel, lower).started();
    let file = stack.open();
    let waiting = file.device_control(HOLD_NEITHER, &[], Vec::new());
    assert_eq!(waiting.status(), None);
    assert_eq!(send(&file, RESUME).answer(), 0);
    assert_eq!(status(&waiting), 0);
    assert_eq!(INPUT.load(SeqCst), 0);
    file.close();
    stack.unload();
}

/// A request that waits is forwarded and cancelled, while the device is removed.
fn resumed_cancelled_and_removed(kernel: &Arc<Kernel>) {
    let stack = started(kernel);
    let file = stack.open();
    let waiting = Arc::new(send(&file, HOLD));
    assert_eq!(send(&file, RESUME).answer(), 0);
    let waiting_clone = Arc::clone(&waiting);
    let canceller = kernel.actor("canceller", move || waiting_clone.cancel());
    stack.device.surprise_remove();
    canceller.join();
    let possible = [0, nt::STATUS_CANCELLED, nt::STATUS_DELETE_PENDING];
    assert!(possible.contains(&status(&waiting)));
    drop(waiting);
    file.close();
    stack.unload();
}

/// One thread closes the handle, one sends a request through it, and one cancels another request.
fn sent_while_its_handle_is_closed(kernel: &Arc<Kernel>) {
    let stack = started(kernel);
    let file = Arc::new(stack.open());
    let waiting = Arc::new(send(&file, HOLD));
    let file_clone = Arc::clone(&file);
    let sender = kernel.actor("sender", move || status(&send(&file_clone, HOLD)));
    let first = Arc::clone(&waiting);
    let canceller = kernel.actor("canceller", move || first.cancel());
    file.close_handle();
    // Either the system call began before the handle was closed, or it fails.
    let possible = [nt::STATUS_CANCELLED, nt::STATUS_INVALID_HANDLE];
    assert!(possible.contains(&sender.join()));
    canceller.join();
    assert_eq!(status(&waiting), nt::STATUS_CANCELLED);
    drop((waiting, file));
    stack.unload();
}

/// The driver filters the device twice. A request that the upper filter forwards waits on the queue of the lower one, which is not
/// resumed.
fn two_filters(kernel: &Arc<Kernel>) -> (Stack, File, Request) {
    let stack = stack(kernel, load::<Controlled<LowerDriver>>(kernel));
    stack.drivers[1]
        .add_filter(&stack.device)
        .expect("AddDevice");
    stack.device.start().expect("the device starts");
    let file = stack.open();
    let waiting = send(&file, HOLD);
    assert_eq!(send(&file, RESUME).answer(), 0);
    (stack, file, waiting)
}

/// The request moves from one filter's queue to the other's while its handle is closed. Each filter receives the `IRP_MJ_CLEANUP`.
fn closed_between_two_filters(kernel: &Arc<Kernel>) {
    let (stack, file, waiting) = two_filters(kernel);
    file.close_handle();
    assert_eq!(status(&waiting), nt::STATUS_CANCELLED);
    file.close();
    stack.unload();
}

/// It moves while it is cancelled and the device is removed: the lower filter is removed while the upper one waits for it.
fn removed_between_two_filters(kernel: &Arc<Kernel>) {
    let (stack, file, waiting) = two_filters(kernel);
    let waiting = Arc::new(waiting);
    let waiting_clone = Arc::clone(&waiting);
    let canceller = kernel.actor("canceller", move || waiting_clone.cancel());
    stack.device.surprise_remove();
    canceller.join();
    let possible = [nt::STATUS_CANCELLED, nt::STATUS_DELETE_PENDING];
    assert!(possible.contains(&status(&waiting)));
    drop(waiting);
    file.close();
    stack.unload();
}

#[test]
fn request_moves_between_the_queues_of_two_filters() {
    explore::check(500, closed_between_two_filters);
    explore::check(500, removed_between_two_filters);
}

#[test]
fn queued_request_ends_once_in_each_explored_schedule() {
    explore::check(500, resumed_cancelled_and_removed);
    explore::check(500, sent_while_its_handle_is_closed);
}
