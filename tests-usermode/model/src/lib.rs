//! A model, in user mode, of the part of the NT kernel that a driver on `nt` can observe.
//!
//! It defines the routines that `nt` declares, so a driver is linked with it instead of ntoskrnl.exe. It tracks the
//! IRQL, the processors, the owner and the order of every spin lock, the pool, and the owner of every IRP. It stops at
//! the first violation of a rule, and reports a [`Violation`]: the bug check that Driver Verifier raises, and the name
//! of Static Driver Verifier's rule.
//!
//! ```text
//!   test, harness              ─ files, requests, cancellation: [`File`], [`Request`]
//!        │                     ─ loading, removal: [`Driver`], [`Device`]
//!   ┌────▼─────────────────────────────────────────┐
//!   │ Kernel   threads ─ IRQL ─ processors ─ DPCs  │
//!   │          spin locks ─ their order            │  a host thread each, or
//!   │          IRPs ─ device objects ─ pool        │  one at a time under [`explore`]
//!   └────▲─────────────────────────────────────────┘
//!        │                     ─ KeAcquireSpinLockRaiseToDpc, IofCompleteRequest, ...
//!   driver (wdm, or raw nt)
//! ```
//!
//! The sources have NT's folders, `ke`, `ex`, `io` and `ps`, by the prefix of a routine's name. Below them are
//! `verifier` (rules, bug checks, the driver's stack) and `host` (threads, waits, time); above them is [`explore`]. A
//! folder uses only those below it. It calls those above it through `host::upcalls`, which `kernel` fills in.
//!
//! Some parts of the system are modelled only as far as a driver observes them without a user of the part:
//!
//! | part | what the model has |
//! | --- | --- |
//! | registry | the key of the service and its `Parameters`, the keys of devices and interfaces, and what the driver creates; [`Kernel::set_registry_value`] adds values, and [`Kernel::registry_value`] reads them |
//! | hardware | the resources and the interrupts that a test gives a device ([`Device::start_with`], [`Kernel::interrupt`]), and memory for `MmMapIoSpace` ([`Kernel::mapped`]); no DMA and no ports |
//! | files | those in memory that drivers and [`Kernel::write_file`] create, in folders that all exist |
//! | error log | the entries that the driver writes ([`Kernel::error_log`]) |
//! | events, WMI, WMILIB | registrations, which the driver must end; no session enables a provider, and no program asks one |
//! | kernel debugger | none: a breakpoint or a failed `ASSERT` stops the system |
//! | routines for bug checks | registrations, which the driver must end; none is called |
//! | threaded DPCs | run as ordinary ones |
//! | children of a bus | those that the driver reports ([`Device::enumerate`], `IoInvalidateDeviceRelations`), without a driver of their own |
//! | `IoInvalidateDeviceState` | the question to the drivers ([`Device::state`]); a test removes a device that has failed |
//! | processes | the system's, and one in which the user-mode threads run; [`Kernel::run_process`] notifies drivers of another |
//!
//! The threads of a [`Kernel`] are the host threads that enter it. An [exploration](explore) runs them one at a time,
//! in every order of the steps that other threads can observe, or in many.
//!
//! The model does not observe reads and writes of plain memory, except of addresses without memory. On Linux these include, for
//! pool blocks, system buffers and user-mode buffers that are no longer than a page ([`Config::special_pool`]):
//!
//! | access | not observed |
//! | --- | --- |
//! | past the end of a block or buffer | of the up to 15 bytes before the next multiple of 16; a write there is found when the block is freed or the request ends |
//! | to a block that was freed | after 256 further blocks were freed |
//! | to a block that was freed to a lookaside list | while the list keeps the block |
//! | to a block of the paged pool at `DISPATCH_LEVEL` | while a thread at a lower IRQL accesses it, if the threads are host threads; pageable sections of an image on such threads too, and on Windows |
//! | to a buffer of `METHOD_NEITHER` without a probe, in a system thread or at `DISPATCH_LEVEL` | after the driver has locked its pages, since the model has one address for user mode and the system |
//! | | by a thread of another process, since the model has one process |
//!
//! Not in such pages are blocks of Rust's allocator, device extensions, IRPs and the buffers of direct I/O.
//! The model finds two threads that use a list without a lock
//! only in an exploration, and only if they use the WDK's list functions. [`explore::Shared`] is for other memory.
//! An entry on the stack of a routine that has returned is found when the list is next used. A timer or a DPC there is found when the
//! routine returns.
//!
//! The routines of a thread's driver calls may use 192 KB of the stack together ([`Config::kernel_stack`]). Driver code that needs
//! more than the 24 KB of a kernel stack, but less than that, is not found.
//!
//! A violation stops the thread forever, as a bug check does: the driver's stack is not unwound.
//! [`Config::on_violation`] selects the effect on the program.
//!
//! # Testing your own driver
//!
//! The driver is a library crate on `nt` or `wdm`. A test depends on that crate and on this one, which defines the kernel's
//! routines, so it needs no WDK. [`Image`] is for a driver's image, which can be written in C.
//!
//! The driver of the following examples is on raw `nt`. Its IOCTL `HOLD` pends the request, `RELEASE` completes the pending
//! request, and `HOLD_FOR_A_SECOND` sets a timer whose DPC completes it.
//!
//! ## Load a driver and send a request
//!
#![doc = concat!("```\n", include_str!("../examples/driver.txt"), r#"
let kernel = Kernel::new(Config::default());
// SAFETY: this is the entry point of a driver on `nt`.
let driver = unsafe { Driver::load(&kernel, driver_entry) }.expect("DriverEntry succeeds");
let device = driver.add_device().expect("AddDevice succeeds");
device.start().expect("the device starts");
let file = device.open_anyway(Access::ReadWrite).expect("the device opens");

let held = file.device_control(HOLD, &[], Vec::new());
assert_eq!(held.answer(), STATUS_PENDING);
assert!(!held.is_done());
assert_eq!(file.device_control(RELEASE, &[], Vec::new()).answer(), STATUS_SUCCESS);
assert_eq!(held.status(), Some(STATUS_SUCCESS));

file.close();
device.remove().expect("no file is open");
// Anything that the driver has leaked is a violation.
driver.unload();
"#, "```")]
//!
//! A driver on `wdm` has the entry point `wdm::entry::<MyDevice>`.
//!
//! ## Cancel a request
//!
#![doc = concat!("```\n", include_str!("../examples/driver.txt"), r#"
# let kernel = Kernel::new(Config::default());
# let driver = unsafe { Driver::load(&kernel, driver_entry) }.unwrap();
# let device = driver.add_device().unwrap();
# device.start().unwrap();
# let file = device.open_anyway(Access::ReadWrite).unwrap();
let held = file.device_control(HOLD, &[], Vec::new());
assert!(held.cancel());
let end = held.wait(Duration::from_secs(1)).expect("the Cancel routine completes it");
assert_eq!(end.status, STATUS_CANCELLED);
"#, "```")]
//!
//! ## Advance the time
//!
//! With [`Clock::Virtual`], time passes only when [`Kernel::advance`] is called, or when a thread waits and no other thread
//! can run: then the next timer expires immediately. A test of a timeout of an hour takes no time.
//!
#![doc = concat!("```\n", include_str!("../examples/driver.txt"), r#"
let kernel = Kernel::new(Config {
    clock: Clock::Virtual,
    ..Config::default()
});
# let driver = unsafe { Driver::load(&kernel, driver_entry) }.unwrap();
# let device = driver.add_device().unwrap();
# device.start().unwrap();
# let file = device.open_anyway(Access::ReadWrite).unwrap();
let held = file.device_control(HOLD_FOR_A_SECOND, &[], Vec::new());
kernel.advance(Duration::from_millis(999));
assert!(!held.is_done());
kernel.advance(Duration::from_millis(1));
assert_eq!(held.status(), Some(STATUS_SUCCESS));
"#, "```")]
//!
//! ## Make allocations fail
//!
//! With [`Faults`] in [`Config::faults`], each allocation and each creation of an object by the driver fails once per call
//! path.
//!
#![doc = concat!("```\n", include_str!("../examples/driver.txt"), r#"
use ntmodel::Faults;

let faults = Arc::new(Faults::default());
let kernel = Kernel::new(Config {
    faults: Some(Arc::clone(&faults)),
    ..Config::default()
});
loop {
    faults.arm();
    let loaded = unsafe { Driver::load(&kernel, driver_entry) };
    if let Ok(driver) = loaded {
        if let Ok(device) = driver.add_device() {
            device.start().expect("it needs no memory");
            device.remove().expect("no file is open");
        }
        driver.unload();
    }
    // No further call path was found.
    if !faults.disarm() {
        break;
    }
}
"#, "```")]
//!
//! ## Expect a violation
//!
//! With [`OnViolation::Halt`] the program continues after a violation, and [`Kernel::violation`] returns it. The thread
//! that broke the rule stops forever, so a test runs the operation in another thread.
//!
#![doc = concat!("```\n", include_str!("../examples/driver.txt"), r#"
let kernel = Kernel::new(Config {
    on_violation: OnViolation::Halt,
    ..Config::default()
});
let kernel_clone = Arc::clone(&kernel);
std::thread::spawn(move || {
    let driver = unsafe { Driver::load(&kernel_clone, driver_entry) }.unwrap();
    let _device = driver.add_device().unwrap();
    // The device was not removed.
    driver.unload();
});
while kernel.violation().is_none() {
    std::thread::yield_now();
}
assert_eq!(kernel.violation().map(|violation| violation.rule), Some(Rule::DeviceRemoval));
"#, "```")]
//!
//! ## Explore the orders of threads
//!
//! See [`explore`].

#![allow(
    clippy::must_use_candidate,
    reason = "the operations have effects, and a test may ignore their results"
)]
#![cfg_attr(
    all(windows, target_env = "gnu"),
    allow(
        clippy::missing_const_for_thread_local,
        reason = "rust-clippy 17566: reported for const initialisers, if std has no native thread locals"
    )
)]

mod ex;
pub mod explore;
mod format;
mod host;
mod image;
mod io;
mod ke;
mod kernel;
mod mutex;
mod ps;
mod touch;
mod verifier;

pub use ex::UserEvent;
pub use host::{Clock, Config, Kernel, OnViolation, Step};
pub use image::{Image, ImageError};
pub use io::{
    Access, BusAnswer, Cancelling, Completion, Device, Driver, DriverEntry, File, PowerState,
    Request, Resource, User, UserMemory,
};
pub use verifier::{Faults, Rule, Violation};
