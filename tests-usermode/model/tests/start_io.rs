//! StartIo and the device queue of a device object: a correct driver in every order, the documented order of packets, and
//! mistakes of drivers.

#[macro_use]
mod call;
mod steps;

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, IRP, KDPC, NTSTATUS, PDRIVER_CANCEL, STATUS_CANCELLED, STATUS_PENDING,
    STATUS_SUCCESS, irp as io,
};
use ntmodel::{
    Config, Kernel, Rule,
    explore::{Search, explore},
};
use steps::{FIRST, SECOND, Stage, Steps, breaks, complete, end_of, holds, mark, own};

const NOTHING: u8 = 0;
const NO_START_IO: u8 = 1;
const NEXT_AT_PASSIVE: u8 = 2;
const NEXT_WITHOUT_CURRENT: u8 = 3;
const KEEPS_CANCEL_ROUTINE: u8 = 4;
const FORGETS_NEXT: u8 = 5;
const STAYS_QUEUED: u8 = 6;
const HOLDS_CANCEL_LOCK: u8 = 7;
const DOES_NOT_COMPARE: u8 = 8;

/// A driver whose device takes one request at a time, and ends it in a DPC.
struct Starts<const MISTAKE: u8>;

fn set_start_io(device: *mut DEVICE_OBJECT, routine: nt::PDRIVER_STARTIO) {
    // SAFETY: the device object is the driver's, and the model detects the mistakes. The same holds for all calls below.
    let driver = unsafe { (*device).DriverObject };
    nt!(set_start_io(driver, routine));
}

fn start(device: *mut DEVICE_OBJECT, irp: *mut IRP, cancel: PDRIVER_CANCEL) {
    nt!(IoStartPacket(device, irp, null_mut(), cancel));
}

/// Calls `IoStartNextPacket` at `DISPATCH_LEVEL`.
fn start_next(device: *mut DEVICE_OBJECT) {
    let irql = nt!(KeRaiseIrqlToDpcLevel());
    nt!(IoStartNextPacket(device, 1));
    nt!(KeLowerIrql(irql));
}

fn current(device: *mut DEVICE_OBJECT) -> *mut IRP {
    nt!(current_irp(device))
}

/// Takes the Cancel routine of the current IRP under the cancel spin lock; returns whether there was one. The IRP may be
/// cancelled and completed before the lock is acquired, and is then no longer current.
fn take_routine<const MISTAKE: u8>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> bool {
    let mut irql = 0;
    nt!(IoAcquireCancelSpinLock(&raw mut irql));
    let is_current = MISTAKE == DOES_NOT_COMPARE || current(device) == irp;
    let owned = is_current && nt!(irp::IoSetCancelRoutine(irp, None)).is_some();
    if MISTAKE != HOLDS_CANCEL_LOCK {
        nt!(IoReleaseCancelSpinLock(irql));
    }
    owned
}

unsafe extern "C" fn start_io<const MISTAKE: u8>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    if MISTAKE != KEEPS_CANCEL_ROUTINE && !take_routine::<MISTAKE>(device, irp) {
        // The Cancel routine completes the IRP, and starts the next one.
        return;
    }
    nt!(IoRequestDpc(device, irp, null_mut()));
}

unsafe extern "C" fn serve<const MISTAKE: u8>(
    _: *mut KDPC,
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    _: *mut c_void,
) {
    assert_eq!(current(device), irp);
    if MISTAKE != FORGETS_NEXT {
        nt!(IoStartNextPacket(device, 1));
    }
    complete(irp, STATUS_SUCCESS);
}

unsafe extern "C" fn cancel<const MISTAKE: u8>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    let irql = nt!(irp::cancel_irql(irp));
    let is_current = current(device) == irp;
    if !is_current && MISTAKE != STAYS_QUEUED {
        // SAFETY: only the address is computed, in a device object that is alive.
        let queue = unsafe { &raw mut (*device).DeviceQueue };
        nt!(KeRemoveEntryDeviceQueue(queue, io::device_queue_entry(irp)));
    }
    nt!(IoReleaseCancelSpinLock(irql));
    if is_current {
        start_next(device);
    }
    complete(irp, STATUS_CANCELLED);
}

impl<const MISTAKE: u8> Steps for Starts<MISTAKE> {
    type Own = ();

    fn add(device: *mut DEVICE_OBJECT, (): &()) {
        if MISTAKE != NO_START_IO {
            set_start_io(device, Some(start_io::<MISTAKE>));
        }
        nt!(IoInitializeDpcRequest(device, Some(serve::<MISTAKE>)));
    }

    fn control(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        let status = mark(irp);
        if MISTAKE == NEXT_AT_PASSIVE {
            nt!(IoStartNextPacket(device, 1));
        }
        if MISTAKE == NEXT_WITHOUT_CURRENT {
            start_next(device);
        }
        start(device, irp, Some(cancel::<MISTAKE>));
        status
    }

    fn remove((): &()) {
        nt!(KeFlushQueuedDpcs());
    }
}

/// Two threads send a request each, one of which a third thread cancels.
fn two_sent_and_one_cancelled<const MISTAKE: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Starts<MISTAKE>>(kernel);
    let file = Arc::clone(&stage.file);
    let sender = kernel.actor("sender", move || {
        end_of(&file.device_control(SECOND, &[], Vec::new()))
    });
    let first = stage.send(FIRST);
    first.cancel();
    let ends = [end_of(&first), sender.join()];
    kernel.verify(ends[1] == STATUS_SUCCESS, || {
        format!("the requests have ended with {ends:x?}")
    });
    stage.tear_down();
}

/// Two threads send a request each.
fn two_sent(kernel: &Arc<Kernel>) {
    steps::two_requests::<Starts<NOTHING>>(kernel);
}

/// A request is cancelled by another thread.
fn one_cancelled(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Starts<NOTHING>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    end_of(&stage.send(FIRST));
    canceller.join();
    stage.tear_down();
}

#[test]
fn a_correct_driver_breaks_no_rule_in_any_order() {
    holds(two_sent);
    holds(one_cancelled);
    let search = Search::preempting(1);
    explore(search, two_sent_and_one_cancelled::<NOTHING>)
        .unwrap_or_else(|found| panic!("{found}"));
}

fn wrong<const MISTAKE: u8>(rule: Rule, text: &str) {
    breaks(two_sent_and_one_cancelled::<MISTAKE>, rule, text);
}

#[test]
fn a_driver_that_starts_packets_has_a_start_io_routine() {
    wrong::<NO_START_IO>(Rule::StartIo, "DriverStartIo is NULL");
}

#[test]
fn the_next_packet_is_started_at_dispatch_level_when_one_is_current() {
    wrong::<NEXT_AT_PASSIVE>(Rule::IrqlDispatch, "must be DISPATCH_LEVEL");
    wrong::<NEXT_WITHOUT_CURRENT>(Rule::DeviceQueueBusy, "has no current request");
    wrong::<FORGETS_NEXT>(Rule::DeviceQueueBusy, "is on a device queue that is busy");
}

#[test]
fn the_cancel_routine_of_a_packet_is_settled_under_the_cancel_spin_lock() {
    wrong::<KEEPS_CANCEL_ROUTINE>(Rule::CompleteRequest, "while its Cancel routine is set");
    wrong::<DOES_NOT_COMPARE>(Rule::CompletedIrp, "is used after");
    wrong::<STAYS_QUEUED>(Rule::CompleteRequest, "while it is on a queue");
    wrong::<HOLDS_CANCEL_LOCK>(Rule::CancelSpinLock, "StartIo has returned and holds");
}

/// Starts its requests by key, and completes the current one for the IOCTL `END` or `END_FROM_FIVE`.
struct ByKey;

#[derive(Default)]
struct Started {
    order: RefCell<Vec<u64>>,
}

fn offset_of(irp: *mut IRP) -> u64 {
    u64::from(nt!(irp::io_control(irp)).code)
}

unsafe extern "C" fn note(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    own::<ByKey>(device).order.borrow_mut().push(offset_of(irp));
}

/// IOCTLs whose function numbers are the keys.
const fn keyed(key: u32) -> u32 {
    0x22_2000 | (0x800 + key) << 2
}
const END: u32 = keyed(0x100);
const END_FROM_FIVE: u32 = keyed(0x101);
const ORDER: u32 = keyed(0x102);

impl Steps for ByKey {
    type Own = Started;

    fn add(device: *mut DEVICE_OBJECT, own: &Started) {
        own.order.take();
        set_start_io(device, Some(note));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Started, irp: *mut IRP, code: u32) -> NTSTATUS {
        match code {
            END | END_FROM_FIVE => {
                let ended = current(device);
                let irql = nt!(KeRaiseIrqlToDpcLevel());
                if code == END {
                    nt!(IoStartNextPacket(device, 0));
                } else {
                    nt!(IoStartNextPacketByKey(device, 0, keyed(5)));
                }
                nt!(KeLowerIrql(irql));
                complete(ended, STATUS_SUCCESS);
                complete(irp, STATUS_SUCCESS)
            }
            ORDER => {
                let expected = [3, 5, 1, 4].map(|key| u64::from(keyed(key)));
                assert_eq!(own.order.take(), expected);
                assert!(current(device).is_null());
                complete(irp, STATUS_SUCCESS)
            }
            mut key => {
                mark(irp);
                nt!(IoStartPacket(device, irp, &raw mut key, None));
                STATUS_PENDING
            }
        }
    }
}

#[test]
fn packets_are_started_by_key() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<ByKey>(&kernel);
    // The first one finds the device idle. Of the others, the first with a key of at least 5 comes next, and then the lowest.
    let sent = [3, 4, 5, 1].map(|key| stage.send(keyed(key)));
    for code in [END_FROM_FIVE, END, END, END, ORDER] {
        assert_eq!(end_of(&stage.send(code)), STATUS_SUCCESS);
    }
    assert!(
        sent.iter()
            .all(|request| request.status() == Some(STATUS_SUCCESS))
    );
    stage.tear_down();
}

/// Whose StartIo completes the IRP and starts the next one, with `DeferredStartIo` or without.
struct Recurs<const DEFERRED: bool>;

#[derive(Default)]
struct Depth {
    now: Cell<u32>,
    most: Cell<u32>,
    first: Cell<*mut IRP>,
    second: Cell<*mut IRP>,
}

unsafe extern "C" fn recurs<const DEFERRED: bool>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    let depth = own::<Recurs<DEFERRED>>(device);
    depth.now.set(depth.now.get() + 1);
    depth.most.set(depth.most.get().max(depth.now.get()));
    if depth.first.get() == irp {
        // Arrives while StartIo runs.
        start(device, depth.second.get(), None);
    }
    nt!(IoStartNextPacket(device, 0));
    complete(irp, STATUS_SUCCESS);
    depth.now.set(depth.now.get() - 1);
}

impl<const DEFERRED: bool> Steps for Recurs<DEFERRED> {
    type Own = Depth;

    fn add(device: *mut DEVICE_OBJECT, _: &Depth) {
        set_start_io(device, Some(recurs::<DEFERRED>));
        nt!(IoSetStartIoAttributes(device, DEFERRED.into(), 0));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Depth, irp: *mut IRP, code: u32) -> NTSTATUS {
        mark(irp);
        if code == FIRST {
            own.second.set(irp);
            return STATUS_PENDING;
        }
        own.first.set(irp);
        start(device, irp, None);
        let expected = if DEFERRED { 1 } else { 2 };
        assert_eq!(own.most.get(), expected);
        STATUS_PENDING
    }
}

#[test]
fn deferred_start_io_is_not_called_while_it_runs() {
    fn both<const DEFERRED: bool>(kernel: &Arc<Kernel>) {
        let stage = Stage::set::<Recurs<DEFERRED>>(kernel);
        let sent = [FIRST, SECOND].map(|code| stage.send(code));
        assert!(sent.iter().all(|request| end_of(request) == STATUS_SUCCESS));
        stage.tear_down();
    }
    holds(both::<true>);
    holds(both::<false>);
}

/// Whose StartIo finds a Cancel routine, or none, by the attribute `NonCancelable`.
struct FindsRoutine<const NON_CANCELABLE: bool>;

unsafe extern "C" fn finds<const NON_CANCELABLE: bool>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    assert_eq!(take_routine::<NOTHING>(device, irp), !NON_CANCELABLE);
    nt!(IoStartNextPacket(device, 1));
    complete(irp, STATUS_SUCCESS);
}

impl<const NON_CANCELABLE: bool> Steps for FindsRoutine<NON_CANCELABLE> {
    type Own = ();

    fn add(device: *mut DEVICE_OBJECT, (): &()) {
        set_start_io(device, Some(finds::<NON_CANCELABLE>));
        nt!(IoSetStartIoAttributes(device, 0, NON_CANCELABLE.into()));
    }

    fn control(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        start(device, irp, Some(cancel::<NOTHING>));
        STATUS_PENDING
    }
}

#[test]
fn a_current_irp_that_is_not_cancelable_has_no_cancel_routine() {
    holds(steps::one_request::<FindsRoutine<true>>);
    holds(steps::one_request::<FindsRoutine<false>>);
}
