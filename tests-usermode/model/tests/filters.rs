//! A filter driver above a function driver: pending is passed up as the I/O manager does it, and what is not is found.

mod common;

use std::{
    ffi::c_void,
    marker::PhantomData,
    ptr::{addr_of_mut, null_mut},
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{event, found_in, initialise, set};
use nt::{
    DEVICE_OBJECT, DO_BUFFERED_IO, DRIVER_OBJECT, IRP, KEVENT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS,
    STATUS_CANCELLED, STATUS_MORE_PROCESSING_REQUIRED, STATUS_NOT_FOUND, STATUS_PENDING,
    STATUS_SUCCESS, UNICODE_STRING, irp as io,
};
use ntmodel::{
    Access, Config, Device, Driver, File, Kernel, Request, Rule,
    explore::{Search, explore},
};

/// The IOCTLs of the function driver: keep this request, complete the one that is kept, complete this one at once.
const PEND: u32 = 0x22_2000;
const COMPLETE: u32 = 0x22_2004;
const NOW: u32 = 0x22_2008;
/// Complete this one with `Information` 1, and with an error if it has an input.
const INFORM: u32 = 0x22_2010;
/// Insert this one into two lists.
const TWO_LISTS: u32 = 0x22_2014;
/// Keep this request until it is cancelled.
const CANCELABLE: u32 = 0x22_200c;

#[repr(C)]
struct Extension {
    lower: *mut DEVICE_OBJECT,
    kept: AtomicPtr<IRP>,
}

fn extension<'a>(device: *mut DEVICE_OBJECT) -> &'a Extension {
    // SAFETY: the device object is alive.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: `add_device` has made it so large.
    unsafe { &*extension.cast() }
}

fn complete(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: the IRP is the caller's, and so is DriverContext, which the entry overlays. The bytes mean nothing.
    unsafe { io::device_queue_entry(irp).write_bytes(1, 1) };
    // SAFETY: as above.
    unsafe { io::set_status(irp, status) };
    // SAFETY: as above.
    unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
    status
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

/// Makes a device object on top of the stack. A filter's has the flags of the one below.
fn add(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT, own_flags: u32, copies: bool) {
    let mut device = null_mut();
    let (size, kind) = (64, nt::FILE_DEVICE_UNKNOWN);
    // SAFETY: the PnP manager gives the driver object.
    let status =
        unsafe { nt::IoCreateDevice(driver, size, null_mut(), kind, 0, 0, &raw mut device) };
    assert_eq!(status, STATUS_SUCCESS);
    // SAFETY: both device objects are alive, and the new one is attached nowhere.
    let lower = unsafe { nt::IoAttachDeviceToDeviceStack(device, pdo) };
    // SAFETY: the device object was just made.
    let own = unsafe { (*device).DeviceExtension }.cast::<Extension>();
    // SAFETY: the extension is this driver's, and nobody else knows it yet.
    unsafe { (*own).lower = lower };
    // SAFETY: the lower device object is alive.
    let lower_flags = if copies { unsafe { (*lower).Flags } } else { 0 };
    // SAFETY: the device object was just made; the address alone is computed.
    let flags = unsafe { addr_of_mut!((*device).Flags) };
    // SAFETY: as above.
    unsafe { *flags = own_flags | lower_flags & DO_BUFFERED_IO };
}

fn pass_on(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is the caller's.
    unsafe { io::IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: as above.
    unsafe { nt::IofCallDriver(extension(device).lower, irp) }
}

/// `IRP_MJ_PNP` of both drivers.
unsafe extern "C" fn pnp(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is this routine's, and passed on next.
    let removed = unsafe { io::minor_function(irp) } == nt::IRP_MN_REMOVE_DEVICE;
    let status = pass_on(device, irp);
    if removed {
        // SAFETY: the device object is attached to the one below.
        unsafe { nt::IoDetachDevice(extension(device).lower) };
        // SAFETY: nobody sends it anything any more.
        unsafe { nt::IoDeleteDevice(device) };
    }
    status
}

/// An interlocked list.
struct List {
    head: LIST_ENTRY,
    lock: KSPIN_LOCK,
}

impl List {
    fn initialise(&mut self) {
        // SAFETY: the list is the caller's; so below.
        unsafe { nt::list::InitializeListHead(&raw mut self.head) };
        // SAFETY: as above.
        unsafe { nt::KeInitializeSpinLock(&raw mut self.lock) };
    }

    fn insert(&mut self, irp: *mut IRP) {
        let (head, lock) = (&raw mut self.head, &raw mut self.lock);
        // SAFETY: whether the IRP may be inserted is what is tested.
        unsafe { nt::ExInterlockedInsertTailList(head, io::list_entry(irp), lock) };
    }
}

mod function {
    use super::*;

    pub unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
        // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
        let driver = unsafe { &mut *driver };
        driver.DriverUnload = Some(unload);
        for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLOSE, nt::IRP_MJ_CLEANUP] {
            driver.MajorFunction[major] = Some(succeed);
        }
        driver.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(control);
        driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp);
        // SAFETY: the driver object comes with its extension.
        unsafe { (*driver.DriverExtension).AddDevice = Some(add_device) };
        STATUS_SUCCESS
    }

    unsafe extern "C" fn add_device(
        driver: *mut DRIVER_OBJECT,
        pdo: *mut DEVICE_OBJECT,
    ) -> NTSTATUS {
        add(driver, pdo, DO_BUFFERED_IO, false);
        STATUS_SUCCESS
    }

    unsafe extern "C" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    unsafe extern "C" fn cancel(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
        // SAFETY: the I/O manager holds the cancel spin lock.
        let irql = unsafe { io::cancel_irql(irp) };
        // SAFETY: as above.
        unsafe { nt::IoReleaseCancelSpinLock(irql) };
        // The filter's device object has another extension.
        let kept = extension(device).kept.swap(null_mut(), SeqCst);
        assert_eq!(
            kept, irp,
            "the Cancel routine gets this driver's own device object"
        );
        complete(irp, STATUS_CANCELLED);
    }

    unsafe extern "C" fn control(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let kept = &extension(device).kept;
        // SAFETY: the IRP is an IRP_MJ_DEVICE_CONTROL of this routine's.
        match unsafe { io::io_control(irp) }.code {
            code @ (PEND | CANCELABLE) => {
                // SAFETY: as above.
                unsafe { io::IoMarkIrpPending(irp) };
                if code == CANCELABLE {
                    // SAFETY: as above. Nobody cancels it before this routine has returned.
                    unsafe { io::IoSetCancelRoutine(irp, Some(cancel)) };
                }
                // Seen by whoever completes it.
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
                // SAFETY: as above.
                unsafe { io::set_information(irp, 1) };
                // SAFETY: as above.
                let has_input = unsafe { io::io_control(irp) }.input_length != 0;
                let status = if has_input {
                    STATUS_NOT_FOUND
                } else {
                    STATUS_SUCCESS
                };
                complete(irp, status)
            }
            _ => complete(irp, STATUS_SUCCESS),
        }
    }
}

/// How a filter passes an `IRP_MJ_DEVICE_CONTROL` on.
trait Filter: 'static {
    const COPIES_FLAGS: bool = true;
    /// Whether it waits for the lower driver, so that another thread has to complete the request.
    const WAITS: bool = false;

    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS;
}

struct Entry<F>(PhantomData<F>);

impl<F: Filter> Entry<F> {
    unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
        // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
        let driver = unsafe { &mut *driver };
        driver.DriverUnload = Some(unload);
        for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLOSE, nt::IRP_MJ_CLEANUP] {
            driver.MajorFunction[major] = Some(Self::others);
        }
        driver.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(Self::control);
        driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp);
        // SAFETY: the driver object comes with its extension.
        unsafe { (*driver.DriverExtension).AddDevice = Some(Self::add_device) };
        STATUS_SUCCESS
    }

    unsafe extern "C" fn add_device(
        driver: *mut DRIVER_OBJECT,
        pdo: *mut DEVICE_OBJECT,
    ) -> NTSTATUS {
        add(driver, pdo, 0, F::COPIES_FLAGS);
        STATUS_SUCCESS
    }

    unsafe extern "C" fn others(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        pass_on(device, irp)
    }

    unsafe extern "C" fn control(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        F::pass(extension(device).lower, irp)
    }
}

fn call(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is the caller's.
    unsafe { nt::IofCallDriver(lower, irp) }
}

fn copy(irp: *mut IRP) {
    // SAFETY: the IRP is the caller's, and has a further stack location.
    unsafe { io::IoCopyCurrentIrpStackLocationToNext(irp) };
}

fn set_routine(irp: *mut IRP, routine: nt::PIO_COMPLETION_ROUTINE, context: *mut c_void) {
    // SAFETY: as above.
    unsafe { io::IoSetCompletionRoutine(irp, routine, context, true, true, true) };
}

fn mark(irp: *mut IRP) {
    // SAFETY: as above.
    unsafe { io::IoMarkIrpPending(irp) };
}

struct Skips;

impl Filter for Skips {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the IRP is the caller's.
        unsafe { io::IoSkipCurrentIrpStackLocation(irp) };
        call(lower, irp)
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
    // SAFETY: the IRP is the completion routine's.
    if unsafe { io::pending_returned(irp) } {
        mark(irp);
    }
    STATUS_SUCCESS
}

struct Propagates;

impl Filter for Propagates {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp);
        set_routine(irp, Some(propagates), null_mut());
        call(lower, irp)
    }
}

/// Pends every request, whatever the lower driver does.
struct PendsAll;

unsafe extern "C" fn goes_on(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

impl Filter for PendsAll {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp);
        set_routine(irp, Some(goes_on), null_mut());
        mark(irp);
        call(lower, irp);
        STATUS_PENDING
    }
}

unsafe extern "C" fn keeps(_: *mut DEVICE_OBJECT, _: *mut IRP, done: *mut c_void) -> NTSTATUS {
    set(done.cast());
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Waits for what the lower driver pends, and completes it.
struct Waits;

impl Filter for Waits {
    const WAITS: bool = true;

    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let mut done = event();
        let done: *mut KEVENT = &raw mut done;
        initialise(done);
        copy(irp);
        set_routine(irp, Some(keeps), done.cast());
        if call(lower, irp) == STATUS_PENDING {
            // SAFETY: the event is initialised.
            unsafe { nt::KeWaitForSingleObject(done.cast(), 0, 0, 0, null_mut()) };
        }
        // SAFETY: the completion routine has kept the IRP for this routine.
        complete(irp, unsafe { io::status(irp) })
    }
}

/// Both drivers, their device and an open file of it.
struct Stack {
    below: Driver,
    above: Driver,
    device: Device,
    file: Arc<File>,
}

impl Stack {
    fn set<F: Filter>(kernel: &Arc<Kernel>) -> Self {
        // SAFETY: the entry points are those of drivers on `nt`; the mistakes are the model's to find.
        let below = unsafe { Driver::load(kernel, function::entry) }.expect("DriverEntry");
        // SAFETY: as above.
        let above = unsafe { Driver::load(kernel, Entry::<F>::entry) }.expect("DriverEntry");
        let device = below.add_device().expect("AddDevice");
        above.add_filter(&device).expect("AddDevice");
        device.start().expect("the device starts");
        let file = Arc::new(device.open_anyway(Access::ReadWrite).expect("it opens"));
        Self {
            below,
            above,
            device,
            file,
        }
    }

    fn send(&self, code: u32) -> Request {
        self.file.device_control(code, &[], Vec::new())
    }

    fn strike(self) {
        drop(self.file);
        self.device.remove().expect("no file is open");
        self.above.unload();
        self.below.unload();
    }
}

fn end_of(request: &Request) -> NTSTATUS {
    let end = request.wait(Duration::from_secs(5));
    end.expect("it ends").status
}

/// Sends a request that is completed at once, and one that another request completes.
fn live<F: Filter>(kernel: &Arc<Kernel>) {
    let stack = Stack::set::<F>(kernel);
    assert_eq!(end_of(&stack.send(NOW)), STATUS_SUCCESS);
    let theirs = Arc::clone(&stack.file);
    let completer = F::WAITS.then(|| {
        kernel.actor("completer", move || {
            let complete = || theirs.device_control(COMPLETE, &[], Vec::new());
            while complete().answer() != STATUS_SUCCESS {
                std::thread::yield_now();
            }
        })
    });
    let pended = stack.send(PEND);
    match completer {
        Some(completer) => completer.join(),
        None => assert_eq!(end_of(&stack.send(COMPLETE)), STATUS_SUCCESS),
    }
    assert_eq!(end_of(&pended), STATUS_SUCCESS);
    stack.strike();
}

/// Sends a request that another thread completes during the call or later.
fn once<F: Filter>(kernel: &Arc<Kernel>) {
    let stack = Stack::set::<F>(kernel);
    let theirs = Arc::clone(&stack.file);
    let completer = kernel.actor("completer", move || {
        end_of(&theirs.device_control(COMPLETE, &[], Vec::new()))
    });
    let pended = stack.send(PEND);
    if completer.join() == STATUS_NOT_FOUND {
        let _ = stack.send(COMPLETE);
    }
    assert_eq!(end_of(&pended), STATUS_SUCCESS);
    stack.strike();
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
    let stack = Stack::set::<Copies>(&kernel);
    let request = stack.send(CANCELABLE);
    assert!(request.cancel());
    assert_eq!(request.status(), Some(STATUS_CANCELLED));
    stack.strike();
}

/// Its completion routine says nothing of pending.
struct Loses;

impl Filter for Loses {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp);
        set_routine(irp, Some(goes_on), null_mut());
        call(lower, irp)
    }
}

/// Returns success, whatever the lower driver returns.
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

/// Returns `STATUS_PENDING`, whatever the lower driver returns.
struct ReturnsPending;

impl Filter for ReturnsPending {
    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        Copies::pass(lower, irp);
        STATUS_PENDING
    }
}

/// Does not have the flags of the device object below.
struct OtherFlags;

impl Filter for OtherFlags {
    const COPIES_FLAGS: bool = false;

    fn pass(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        Copies::pass(lower, irp)
    }
}

fn stops<F: Filter>(rule: Rule, first: u64) {
    let violation = found_in(live::<F>);
    let seen = (violation.rule, violation.code, violation.parameters[0]);
    assert_eq!(seen, (rule, 0xc9, first), "\n{violation}");
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
    // SAFETY: as in `Stack::set`.
    let driver = unsafe { Driver::load(kernel, function::entry) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    let file = device.open_anyway(Access::ReadWrite).expect("it opens");
    let _ = file.device_control(code, &vec![0; input], vec![0; output]);
    file.close();
    device.remove().expect("no file is open");
    driver.unload();
}

#[test]
fn information_says_more_than_the_buffer_holds() {
    let kernel = Kernel::new(Config::default());
    send(&kernel, INFORM, 0, 1);
    // The value of an error is not checked.
    send(&kernel, INFORM, 1, 0);
    let violation = found_in(|kernel| send(kernel, INFORM, 0, 0));
    assert_eq!(
        (violation.rule, violation.code),
        (Rule::Information, 0),
        "\n{violation}"
    );
}

#[test]
fn a_request_is_on_two_lists() {
    let violation = found_in(|kernel| send(kernel, TWO_LISTS, 0, 0));
    let seen = (violation.rule, violation.code, violation.parameters[0]);
    assert_eq!(seen, (Rule::ListEntry, 0x139, 3), "\n{violation}");
}
