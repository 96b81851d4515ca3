//! Scenarios that end with an IRP that is never completed, with a thread that waits, or in a hang: the report names the
//! threads and the objects that they wait for.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use call::{broke, start_thread, wait};
use common::found_in;
use nt::{
    DEVICE_OBJECT, IO_REMOVE_LOCK, IRP, KEVENT, KSPIN_LOCK, NTSTATUS, STATUS_CANCELLED,
    STATUS_SUCCESS,
};
use ntmodel::{
    Access, Config, Kernel, OnViolation, Rule, Violation,
    explore::{Search, explore},
};
use steps::{FIRST, Stage, Steps, breaks, cancel, complete, end_of, holds, mark};

/// Pends a request, with or without a Cancel routine.
struct Pends<const CANCELABLE: bool>;

impl<const CANCELABLE: bool> Steps for Pends<CANCELABLE> {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let status = mark(irp);
        if CANCELABLE {
            nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
        }
        status
    }

    fn cancel(_: &u64, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        nt!(IoReleaseCancelSpinLock(irql));
        complete(irp, STATUS_CANCELLED);
    }
}

fn ends_with_a_request<const CANCELABLE: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Pends<CANCELABLE>>(kernel);
    let _ = stage.send(FIRST);
}

#[test]
fn irp_that_cannot_end_is_reported_at_the_end_of_a_scenario() {
    let text = "it remains at the end of the scenario, and cannot be cancelled";
    let scenario = ends_with_a_request::<false>;
    breaks(scenario, Rule::IrpProcessingComplete, text);
    holds(ends_with_a_request::<true>);
}

fn unloads_with_a_request<const CANCELABLE: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Pends<CANCELABLE>>(kernel);
    let request = stage.send(FIRST);
    if CANCELABLE {
        request.cancel();
        return stage.tear_down();
    }
    stage.driver.unload();
}

#[test]
fn irp_is_reported_before_the_device_object_that_it_holds() {
    let text = "the driver is unloaded, but IRP 3";
    let scenario = unloads_with_a_request::<false>;
    breaks(scenario, Rule::IrpProcessingComplete, text);
    holds(unloads_with_a_request::<true>);
}

fn cancels<const CANCELABLE: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Pends<CANCELABLE>>(kernel);
    let request = stage.send(FIRST);
    request.cancel();
    end_of(&request);
    stage.tear_down();
}

#[test]
fn report_names_an_irp_that_never_had_a_cancel_routine() {
    let text = "was cancelled, never had a Cancel routine, and is never completed";
    breaks(cancels::<false>, Rule::IrpProcessingComplete, text);
    holds(cancels::<true>);
}

/// A thread of the driver that waits for an event. If `ENDS`, the event is set when the device is removed.
struct HasThread<const ENDS: bool>;

struct Own {
    event: UnsafeCell<KEVENT>,
    thread: Cell<*mut c_void>,
}

unsafe extern "C" fn waits(event: *mut c_void) {
    let status = wait(event);
    assert_eq!(status, STATUS_SUCCESS);
}

impl<const ENDS: bool> Steps for HasThread<ENDS> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        let event = own.event.get();
        nt!(KeInitializeEvent(event, 0, 0));
        own.thread.set(start_thread(waits, event));
    }

    fn remove(own: &Own) {
        if ENDS {
            nt!(KeSetEvent(own.event.get(), 0, 0));
        }
        let thread = own.thread.get();
        if ENDS {
            nt!(ZwWaitForSingleObject(thread, 0, null_mut()));
        }
        nt!(ZwClose(thread));
    }
}

fn leaves_thread<const ENDS: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<HasThread<ENDS>>(kernel);
    if ENDS {
        stage.tear_down();
    }
}

fn removes_with_thread<const ENDS: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<HasThread<ENDS>>(kernel);
    Arc::into_inner(stage.file)
        .expect("no actor uses the file")
        .close();
    stage.device.remove().expect("no file is open");
}

/// Returns the threads of a kernel as soon as one of them waits.
fn await_wait(kernel: &Arc<Kernel>) -> String {
    for _ in 0..10_000 {
        let report = kernel.describe_hang();
        if report.contains("waits for the object") {
            return report;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no thread waits in time");
}

#[test]
fn thread_that_waits_in_a_deleted_device_extension_is_reported() {
    let violation = steps::found_in_some_order(removes_with_thread::<false>);
    let rules = [Rule::SystemThread, Rule::FreedMemory];
    assert!(rules.contains(&violation.rule), "\n{violation}");
    let soon = found_in(|kernel| {
        let stage = Stage::set::<HasThread<false>>(kernel);
        await_wait(kernel);
        Arc::into_inner(stage.file)
            .expect("no actor uses the file")
            .close();
        stage.device.remove().expect("no file is open");
    });
    broke(&soon, Rule::SystemThread, 0xd5, &[]);
    assert!(soon.what.contains("waits for the object"), "\n{soon}");
    holds(removes_with_thread::<true>);
}

#[test]
fn thread_that_waits_is_reported_at_the_end_of_a_scenario() {
    let text = "1 threads of the driver remain";
    breaks(leaves_thread::<false>, Rule::SystemThread, text);
    holds(leaves_thread::<true>);
}

fn unloads_with_thread<const ENDS: bool>(kernel: &Arc<Kernel>) {
    Stage::set::<HasThread<ENDS>>(kernel).tear_down();
}

#[test]
fn thread_that_outlives_its_driver_is_reported() {
    let text = "while 1 of its threads run";
    breaks(unloads_with_thread::<false>, Rule::SystemThread, text);
    holds(unloads_with_thread::<true>);
}

/// Acquires its remove lock for a request, and releases it if `RELEASES`.
struct HasRemoveLock<const RELEASES: bool>;

impl<const RELEASES: bool> HasRemoveLock<RELEASES> {
    const SIZE: u32 = 32;

    fn lock(own: &UnsafeCell<IO_REMOVE_LOCK>) -> *mut IO_REMOVE_LOCK {
        own.get()
    }

    fn acquire(own: &UnsafeCell<IO_REMOVE_LOCK>, tag: *mut c_void) {
        let (lock, file) = (Self::lock(own), c"ends.rs".as_ptr());
        let status = nt!(IoAcquireRemoveLockEx(lock, tag, file, 1, Self::SIZE));
        assert_eq!(status, STATUS_SUCCESS);
    }
}

const REMOVAL: usize = 0x1234;

impl<const RELEASES: bool> Steps for HasRemoveLock<RELEASES> {
    type Own = UnsafeCell<IO_REMOVE_LOCK>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        nt!(IoInitializeRemoveLockEx(
            Self::lock(own),
            0,
            0,
            0,
            Self::SIZE
        ));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        Self::acquire(own, irp.cast());
        if RELEASES {
            nt!(IoReleaseRemoveLockEx(
                Self::lock(own),
                irp.cast(),
                Self::SIZE
            ));
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Self::Own) {
        let tag = without_provenance_mut(REMOVAL);
        Self::acquire(own, tag);
        nt!(IoReleaseRemoveLockAndWaitEx(
            Self::lock(own),
            tag,
            Self::SIZE
        ));
    }
}

fn removes<const RELEASES: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<HasRemoveLock<RELEASES>>(kernel);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

/// Returns the violation that stops a scenario on host threads that soon waits forever.
fn found_soon(scenario: fn(&Arc<Kernel>)) -> Violation {
    let kernel = Kernel::new(Config {
        on_violation: OnViolation::Halt,
        hang_after: Duration::from_millis(200),
        ..Config::default()
    });
    let kernel_clone = Arc::clone(&kernel);
    std::thread::spawn(move || scenario(&kernel_clone));
    for _ in 0..10_000 {
        if let Some(violation) = kernel.violation() {
            return violation.clone();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no rule was broken in time");
}

#[test]
fn report_of_a_hang_says_what_each_thread_waits_for() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<HasThread<false>>(&kernel);
    let report = await_wait(&kernel);
    assert!(report.contains("model/tests/ends.rs:"), "{report}");
    // The thread never ends, so the driver cannot be unloaded.
    std::mem::forget(stage);
}

#[test]
fn hang_of_a_removal_names_the_holders_of_the_remove_lock() {
    let holder = "which is held 1 times for IRP 3";
    let in_order = breaks(removes::<false>, Rule::Hang, holder);
    for violation in [in_order, found_soon(removes::<false>)] {
        assert_eq!(violation.rule, Rule::Hang, "\n{violation}");
        assert!(violation.what.contains(holder), "\n{violation}");
        let threads = violation.threads.join("\n");
        assert!(threads.contains("waits for the object"), "\n{violation}");
        assert!(threads.contains("HasRemoveLock"), "\n{violation}");
        assert!(threads.contains("model/tests/ends.rs:"), "\n{violation}");
    }
    holds(removes::<true>);
}

/// If `HOLDS`, waits forever while it holds its lock.
struct HoldsLock<const HOLDS: bool>;

impl<const HOLDS: bool> Steps for HoldsLock<HOLDS> {
    type Own = UnsafeCell<KSPIN_LOCK>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        nt!(KeInitializeSpinLock(own.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        let irql = nt!(KeAcquireSpinLockRaiseToDpc(own.get()));
        if HOLDS && code == FIRST {
            loop {
                nt::interlocked::YieldProcessor();
            }
        }
        nt!(KeReleaseSpinLock(own.get(), irql));
        complete(irp, STATUS_SUCCESS)
    }
}

fn two_wait<const HOLDS: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<HoldsLock<HOLDS>>(kernel);
    let file = stage
        .device
        .open_anyway(Access::Read)
        .expect("the device opens");
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(steps::SECOND, &[], Vec::new()));
    });
    end_of(&stage.send(FIRST));
    other.join();
    stage.tear_down();
}

#[test]
fn hang_on_a_lock_names_its_holder() {
    let violation = steps::found_in_some_order(two_wait::<true>);
    assert_eq!(violation.rule, Rule::Hang, "\n{violation}");
    let threads = violation.threads.join("\n");
    assert!(
        threads.contains("which main holds, acquired by"),
        "\n{violation}"
    );
    holds(two_wait::<false>);
}

#[test]
fn scenario_on_host_threads_is_stopped() {
    let violation = found_in(unloads_with_request);
    assert_eq!(violation.rule, Rule::IrpProcessingComplete, "\n{violation}");
}

fn unloads_with_request(kernel: &Arc<Kernel>) {
    unloads_with_a_request::<false>(kernel);
}

/// The results of two calls of `cancel_all`: none found a request, only the second did, the first did.
static FOUND: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

fn cancels_twice(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Pends<true>>(kernel);
    let file = Arc::clone(&stage.file);
    let sender = kernel.actor("sender", move || {
        file.device_control(FIRST, &[], Vec::new())
    });
    let found = [stage.file.cancel_all(), stage.file.cancel_all()];
    let held = sender.join();
    let index = match found {
        [true, _] => 2,
        [false, true] => 1,
        [false, false] => 0,
    };
    FOUND[index].fetch_add(1, SeqCst);
    stage.file.cancel_all();
    assert_eq!(end_of(&held), STATUS_CANCELLED);
    stage.tear_down();
}

#[test]
fn request_can_arrive_between_two_cancellations_of_a_file() {
    let explored = explore(Search::every(1_000), cancels_twice).expect("no rule is broken");
    assert!(explored.complete, "{explored:?}");
    let seen = FOUND.each_ref().map(|found| found.load(SeqCst) != 0);
    assert_eq!(seen, [true; 3]);
}

/// The device objects of a driver stay until the driver is unloaded, as does its driver object.
#[test]
fn driver_that_is_dropped_remains_loaded() {
    let kernel = Kernel::new(Config::default());
    let Stage {
        file,
        device,
        driver,
        ..
    } = Stage::set::<Pends<true>>(&kernel);
    drop(driver);
    // Memory that was freed is used again.
    let filled: Vec<_> = (0..64).map(|_| Box::new([0xdd_u8; 1024])).collect();
    let again = device.open_anyway(Access::ReadWrite);
    again.expect("the driver object is there").close();
    assert_eq!(filled.len(), 64);
    Arc::into_inner(file).expect("no actor uses it").close();
    device.remove().expect("no file is open");
}
