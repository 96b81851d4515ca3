//! The IRP that a `StartIoQueue`'s device is serving is cancelled: against its end, the close of its handle and the removal of its
//! device, in many orders. `IoCancelIrp` exchanges the Cancel routine before it acquires the cancel spin lock, which is the worst
//! case.

mod common;

use std::sync::Arc;

use common::{Controlled, Controls, Place, Stack, end, kernel, place, start, status};
use ntmodel::{File, Kernel, Request, explore};
use wdm::{
    CancelSpinLock, CancelableIrp, CurrentIrp, Error, Handled, InterlockedLong, Irp, IrpView,
    NewDevice, NtStatus, PassiveLevel, QueueCallbacks, Shared, Start, StartIoOrder, StartIoQueue,
    irql::{NoSpinLockHeld, SpinLockHeld},
};

/// Served, one at a time. Further requests have these codes plus a multiple of 4.
const SERVE: u32 = 0x22_2000;
/// Completes the request that is served, and starts the next one.
const COMPLETE: u32 = 0x22_3000;
/// Drops the request that is served.
const DROP: u32 = 0x22_3004;
const PURGE: u32 = 0x22_3008;
/// Served, and not cancelable before the request to make it so.
const HOLD: u32 = 0x22_300c;
const MAKE_CANCELABLE: u32 = 0x22_3010;

/// The state of the device: the code of the current request, and the number of times that it was stopped.
struct State {
    serving: InterlockedLong,
    stops: InterlockedLong,
}

struct Stopping(Shared<State>);

impl QueueCallbacks for Stopping {
    type Record = ();

    fn current_cancelled(&self, irp: &IrpView, _: &mut SpinLockHeld<CancelSpinLock>) {
        let serving = self.0.serving.read().cast_unsigned();
        assert_eq!(irp.code(), serving, "another request is stopped");
        self.0.stops.increment();
    }
}

struct Server {
    queue: Shared<StartIoQueue<Stopping>>,
    state: Shared<State>,
    served: Place<CancelableIrp<Stopping>>,
    /// A request that is served and not cancelable yet.
    current: Place<CurrentIrp<Stopping>>,
}

impl Server {
    fn start(&self, mut start: Start<Stopping>, irql: &mut impl NoSpinLockHeld) {
        while let Start::Now(current) = start {
            self.state.serving.exchange(current.code().cast_signed());
            start = match current.make_cancelable(irql) {
                Ok(served) => {
                    let before = self.served.with(irql, |place, _| place.replace(served));
                    assert!(before.is_none(), "two requests are served at a time");
                    return;
                }
                Err((current, error)) => {
                    let (irp, next) = current.start_next(irql);
                    irp.complete(error, irql);
                    next
                }
            }
        }
    }

    fn done(&self, status: NtStatus, irql: &mut impl NoSpinLockHeld) -> bool {
        let Some(served) = self.served.with(irql, |place, _| place.take()) else {
            return false;
        };
        let next = match served.take_back(irql) {
            Ok(current) => {
                let (irp, next) = current.start_next(irql);
                irp.complete(status, irql);
                next
            }
            Err(next) => next,
        };
        self.start(next, irql);
        true
    }
}

impl Controls for Server {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let state = State {
            serving: InterlockedLong::new(0),
            stops: InterlockedLong::new(0),
        };
        let state: Shared<State> = Shared::new(Ok::<_, Error>(state), device, irql)?;
        let callbacks = Stopping(state.clone());
        let queue = StartIoQueue::new(StartIoOrder::Arrival, callbacks, device, irql)?;
        Ok(Self {
            queue,
            state,
            served: place(device, irql)?,
            current: place(device, irql)?,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        match irp.code() {
            COMPLETE => {
                let is_done = self.done(NtStatus::SUCCESS, irql);
                let stops = self.state.stops.read().cast_unsigned();
                irp.complete_with(&[u32::from(is_done), stops], irql)
            }
            DROP => {
                drop(self.served.with(irql, |place, _| place.take()));
                irp.complete(NtStatus::SUCCESS, irql)
            }
            HOLD => {
                let (start, pending) = self.queue.insert(irp, irql);
                if let Start::Now(current) = start {
                    self.current.with(irql, |place, _| *place = Some(current));
                }
                pending
            }
            MAKE_CANCELABLE => {
                if let Some(current) = self.current.with(irql, |place, _| place.take()) {
                    self.start(Start::Now(current), irql);
                }
                irp.complete(NtStatus::SUCCESS, irql)
            }
            PURGE => {
                self.queue.purge(Error::DEVICE_BUSY, irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => {
                let (start, pending) = self.queue.insert(irp, irql);
                self.start(start, irql);
                pending
            }
        }
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        if let Some(current) = self.current.with(irql, |place, _| place.take()) {
            self.start(Start::Now(current), irql);
        }
        self.done(NtStatus::DELETE_PENDING, irql);
    }
}

fn started(kernel: &Arc<Kernel>) -> (Stack, File) {
    let stack = start::<Controlled<Server>>(kernel);
    let file = stack.open();
    (stack, file)
}

fn serve(file: &File, number: u32) -> Request {
    file.device_control(SERVE + 4 * number, &[], Vec::new())
}

/// Whether a request was being served, and the number of times that the device was stopped.
fn complete(file: &File) -> (bool, u32) {
    let sent = file.device_control(COMPLETE, &[], vec![0; 8]);
    let output = end(&sent).output;
    let numbers: Vec<_> = output.chunks_exact(4).collect();
    let number = |at: usize| u32::from_ne_bytes(numbers[at].try_into().expect("four bytes"));
    (number(0) == 1, number(1))
}

fn control(file: &File, code: u32) {
    assert_eq!(status(&file.device_control(code, &[], Vec::new())), 0);
}

#[test]
fn served_request_is_cancelled_and_the_next_one_is_served() {
    let (stack, file) = started(&kernel());
    let [first, second, third] = [0, 1, 2].map(|number| serve(&file, number));
    assert!(first.cancel());
    assert_eq!(first.status(), Some(nt::STATUS_CANCELLED));
    // The device is still busy until it reports that it has stopped.
    assert_eq!(complete(&file), (true, 1));
    assert_eq!((second.status(), third.status()), (None, None));
    assert_eq!(complete(&file), (true, 1));
    assert_eq!((second.status(), third.status()), (Some(0), None));
    control(&file, PURGE);
    assert_eq!(third.status(), Some(nt::STATUS_DEVICE_BUSY));
    assert_eq!(complete(&file), (true, 2));
    assert_eq!(complete(&file), (false, 2));
    file.close();
    stack.unload();
}

/// A request that was cancelled, or whose handle was closed, while it could not be cancelled is not made cancelable: it would
/// not be cancelled again.
#[test]
fn served_request_that_was_cancelled_before_is_not_made_cancelable() {
    let (stack, file) = started(&kernel());
    let other = stack.open();
    for closes in [false, true] {
        let request = other.device_control(HOLD, &[], Vec::new());
        if closes {
            other.close_handle();
        } else {
            request.cancel();
        }
        assert_eq!(request.status(), None);
        control(&file, MAKE_CANCELABLE);
        assert_eq!(request.status(), Some(nt::STATUS_CANCELLED));
        assert_eq!(complete(&file), (false, 0));
    }
    other.close();
    file.close();
    stack.unload();
}

/// The error states that the device is being removed.
#[test]
fn served_request_of_a_removed_device_is_not_made_cancelable() {
    let (stack, file) = started(&kernel());
    let request = file.device_control(HOLD, &[], Vec::new());
    stack.device.surprise_remove();
    assert_eq!(request.status(), Some(nt::STATUS_DELETE_PENDING));
    file.close();
    stack.unload();
}

#[test]
fn closing_a_handle_cancels_the_request_that_is_served() {
    let (stack, file) = started(&kernel());
    let other = stack.open();
    let of_file = serve(&file, 0);
    let of_other = serve(&other, 1);
    other.close();
    assert_eq!(status(&of_other), nt::STATUS_CANCELLED);
    assert_eq!(of_file.status(), None);
    let next = stack.open();
    file.close();
    assert_eq!(status(&of_file), nt::STATUS_CANCELLED);
    assert_eq!(complete(&next), (true, 1));
    next.close();
    stack.unload();
}

#[test]
fn dropped_request_is_completed() {
    let (stack, file) = started(&kernel());
    let request = serve(&file, 0);
    control(&file, DROP);
    assert_eq!(status(&request), NtStatus::INTERNAL_ERROR.to_raw());
    file.close();
    stack.unload();
}

fn cancelled_while_it_ends(kernel: &Arc<Kernel>) {
    let (stack, file) = started(kernel);
    let first = Arc::new(serve(&file, 0));
    let second = serve(&file, 1);
    let first_clone = Arc::clone(&first);
    let canceller = kernel.actor("canceller", move || first_clone.cancel());
    assert!(complete(&file).0);
    assert!(complete(&file).0);
    canceller.join();
    assert_eq!(status(&second), 0);
    assert!([0, nt::STATUS_CANCELLED].contains(&status(&first)));
    drop(first);
    file.close();
    stack.unload();
}

fn cancelled_while_it_is_started(kernel: &Arc<Kernel>) {
    let (stack, file) = started(kernel);
    let file = Arc::new(file);
    let file_clone = Arc::clone(&file);
    let canceller = kernel.actor("canceller", move || file_clone.cancel_all());
    let request = serve(&file, 0);
    canceller.join();
    complete(&file);
    assert!([0, nt::STATUS_CANCELLED].contains(&status(&request)));
    drop(file);
    stack.unload();
}

fn cancelled_while_its_handle_is_closed(kernel: &Arc<Kernel>) {
    let (stack, file) = started(kernel);
    let other = stack.open();
    let request = Arc::new(serve(&file, 0));
    let request_clone = Arc::clone(&request);
    let canceller = kernel.actor("canceller", move || request_clone.cancel());
    let completer = kernel.actor("completer", move || {
        complete(&other);
    });
    file.close();
    canceller.join();
    completer.join();
    assert!([0, nt::STATUS_CANCELLED].contains(&status(&request)));
    drop(request);
    stack.unload();
}

fn cancelled_while_the_device_is_removed(kernel: &Arc<Kernel>) {
    let (stack, file) = started(kernel);
    let first = Arc::new(serve(&file, 0));
    let second = serve(&file, 1);
    let first_clone = Arc::clone(&first);
    let canceller = kernel.actor("canceller", move || first_clone.cancel());
    stack.device.surprise_remove();
    canceller.join();
    assert_eq!(status(&second), nt::STATUS_DELETE_PENDING);
    let possible = [nt::STATUS_CANCELLED, nt::STATUS_DELETE_PENDING];
    assert!(possible.contains(&status(&first)));
    drop(first);
    file.close();
    stack.unload();
}

fn cancelled_while_it_is_dropped(kernel: &Arc<Kernel>) {
    let (stack, file) = started(kernel);
    let request = Arc::new(serve(&file, 0));
    let request_clone = Arc::clone(&request);
    let canceller = kernel.actor("canceller", move || request_clone.cancel());
    control(&file, DROP);
    canceller.join();
    let possible = [nt::STATUS_CANCELLED, NtStatus::INTERNAL_ERROR.to_raw()];
    assert!(possible.contains(&status(&request)));
    drop(request);
    file.close();
    stack.unload();
}

#[test]
fn served_request_ends_once_in_each_explored_schedule() {
    for scenario in [
        cancelled_while_it_ends,
        cancelled_while_it_is_started,
        cancelled_while_its_handle_is_closed,
        cancelled_while_the_device_is_removed,
        cancelled_while_it_is_dropped,
    ] {
        explore::check(500, scenario);
    }
}
