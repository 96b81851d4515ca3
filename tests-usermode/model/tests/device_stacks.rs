//! The operations that a filter driver may perform in a device stack, and those that it may not.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use call::{BLOCK, broke, fill_in, on_completion, sets_event};
use common::{NO_CODE, event, initialise};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, KEVENT, NTSTATUS, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_PENDING, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Driver, Kernel, Rule};
use steps::{FIRST, SECOND, Stage, Steps, complete, end_of, entry, lower, mark};

/// Completes a request immediately, or pends the first and completes it with the second.
struct Function;

impl Steps for Function {
    type Own = AtomicPtr<IRP>;

    fn other(_: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP) -> NTSTATUS {
        if nt!(irp::major_function(irp)) == nt::IRP_MJ_CREATE {
            is_opened(irp);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn control(_: *mut DEVICE_OBJECT, kept: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            mark(irp);
            kept.store(irp, SeqCst);
            return STATUS_PENDING;
        }
        let pended = kept.swap(null_mut(), SeqCst);
        if !pended.is_null() {
            complete(pended, STATUS_SUCCESS);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// `Parameters.Create.SecurityContext` points to an `IO_SECURITY_CONTEXT`, whose `DesiredAccess` is the third field:
/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mj-create>.
fn is_opened(irp: *mut IRP) {
    let stack = nt!(irp::current_stack_location(irp));
    // SAFETY: the caller owns the IRP.
    let parameters = unsafe { (*stack).Parameters };
    let context = usize::try_from(parameters[0]).expect("64 bits");
    let context = std::ptr::with_exposed_provenance::<u32>(context);
    // SAFETY: the I/O manager passes the structure.
    let access = unsafe { context.wrapping_add(4).read() };
    let file = nt::FILE_GENERIC_READ | nt::FILE_GENERIC_WRITE;
    assert_eq!(access, file);
}

/// The filter's handling of an `IRP_MJ_DEVICE_CONTROL`.
trait Filter: 'static {
    fn pass(device: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS;
}

struct Filtered<F>(F);

impl<F: Filter> Steps for Filtered<F> {
    type Own = AtomicPtr<IRP>;

    fn other(device: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP) -> NTSTATUS {
        steps::skip(lower::<Self>(device), irp)
    }

    fn control(device: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        F::pass(device, lower::<Self>(device), irp)
    }
}

type Completes = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS;

fn copy(irp: *mut IRP, routine: Completes, context: *mut c_void) {
    nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
    on_completion(irp, routine, context);
}

fn live<F: Filter>(kernel: &Arc<Kernel>, code: u32) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Filtered<F>>]);
    let request = stage.send(code);
    if code == FIRST {
        end_of(&stage.send(SECOND));
    }
    assert_eq!(end_of(&request), STATUS_SUCCESS);
    stage.tear_down();
}

fn passes<F: Filter>() {
    live::<F>(&Kernel::new(Config::default()), SECOND);
}

#[track_caller]
fn stops<F: Filter>(code: u32, rule: Rule, bug_check: (u32, u64)) {
    let violation = common::found_in(move |kernel| live::<F>(kernel, code));
    broke(&violation, rule, bug_check.0, &[bug_check.1]);
}

unsafe extern "C" fn declines(_: *mut DRIVER_OBJECT, _: *mut DEVICE_OBJECT) -> NTSTATUS {
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn declining(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver object, which only this routine uses.
    let driver = unsafe { &mut *driver };
    driver.DriverUnload = Some(unload);
    // SAFETY: the driver object has an extension.
    unsafe { (*driver.DriverExtension).AddDevice = Some(declines) };
    STATUS_SUCCESS
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/guidelines-for-writing-adddevice-routines>
#[test]
fn a_filter_driver_declines_a_device() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let filter = unsafe { Driver::load(&kernel, declining) }.expect("DriverEntry");
    let stage = Stage::set::<Function>(&kernel);
    filter.add_filter(&stage.device).expect("AddDevice");
    assert_eq!(end_of(&stage.send(SECOND)), STATUS_SUCCESS);
    filter.unload();
    stage.tear_down();
}

/// Describes a buffer of its own by an MDL of the IRP, which it does not free.
struct AttachesMdl;

impl Filter for AttachesMdl {
    fn pass(_: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let mut buffer = [0_u64; 4];
        let buffer = (&raw mut buffer).cast();
        let mdl = nt!(IoAllocateMdl(buffer, 32, 0, 0, irp));
        nt!(MmProbeAndLockPages(mdl, 0, 0));
        steps::skip(below, irp)
    }
}

/// When an IRP is completed, the system unlocks and frees the MDLs associated with it:
/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/using-mdls>.
#[test]
fn the_io_manager_frees_the_mdls_of_an_irp() {
    passes::<AttachesMdl>();
}

/// Sends a request of its own, which a lower driver would forward at `DISPATCH_LEVEL`, and queries the alignment.
struct Asks;

impl Filter for Asks {
    fn pass(device: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let [own, lower] = [device, below].map(|device| {
            // SAFETY: both device objects are alive.
            unsafe { (*device).AlignmentRequirement }
        });
        assert_eq!(own, lower);
        if nt!(irp::io_control(irp)).input_length != 0 {
            let irql = nt!(KeRaiseIrqlToDpcLevel());
            let status = steps::skip(below, irp);
            nt!(KeLowerIrql(irql));
            return status;
        }
        let mut done: KEVENT = event();
        let done: *mut KEVENT = &raw mut done;
        initialise(done);
        let mut block = BLOCK;
        let mut input = [1_u8; 8];
        let own = nt!(IoBuildDeviceIoControlRequest(
            SECOND,
            device,
            (&raw mut input).cast(),
            8,
            null_mut(),
            0,
            0,
            done,
            &raw mut block
        ));
        assert_eq!(nt!(IofCallDriver(device, own)), STATUS_SUCCESS);
        complete(irp, block.Status)
    }
}

/// At most `DISPATCH_LEVEL`: <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iofcalldriver>.
#[test]
fn a_lower_driver_forwards_the_request_of_another_driver_at_dispatch_level() {
    passes::<Asks>();
}

struct Bypasses;

impl Filter for Bypasses {
    fn pass(_: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        steps::skip(lower::<Function>(below), irp)
    }
}

/// Bug check 0xC9, 0x211.
#[test]
fn no_driver_of_the_stack_is_bypassed() {
    stops::<Bypasses>(SECOND, Rule::PassedIrp, (0xc9, 0x211));
}

unsafe extern "C" fn raises(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    let _ = nt!(KeRaiseIrqlToDpcLevel());
    STATUS_SUCCESS
}

unsafe extern "C" fn enters(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    nt!(KeEnterCriticalRegion());
    STATUS_SUCCESS
}

struct Raises;

impl Filter for Raises {
    fn pass(_: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp, raises, null_mut());
        nt!(IofCallDriver(below, irp))
    }
}

struct Enters;

impl Filter for Enters {
    fn pass(_: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp, enters, null_mut());
        nt!(IofCallDriver(below, irp))
    }
}

/// Bug checks 0xC4, 0xFA and 0xFB.
#[test]
fn a_completion_routine_returns_at_another_irql_or_in_a_critical_region() {
    stops::<Raises>(SECOND, Rule::IrqlReturn, (0xc4, 0xfa));
    stops::<Enters>(SECOND, Rule::CriticalRegions, (0xc4, 0xfb));
}

unsafe extern "C" fn keeps(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
    // Completed again here, unmarked.
    nt!(IofCompleteRequest(irp, 0));
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Returns the lower driver's `STATUS_PENDING`, and keeps the IRP without a mark.
struct Forgets;

impl Filter for Forgets {
    fn pass(_: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        copy(irp, keeps, null_mut());
        nt!(IofCallDriver(below, irp))
    }
}

/// Bug check 0xC9, 0x23D.
#[test]
fn a_request_that_a_completion_routine_keeps_is_marked_pending() {
    stops::<Forgets>(FIRST, Rule::MarkIrpPending2, (0xc9, 0x23d));
}

unsafe extern "C" fn marks(_: *mut DEVICE_OBJECT, irp: *mut IRP, event: *mut c_void) -> NTSTATUS {
    mark(irp);
    // SAFETY: as the other routine.
    unsafe { sets_event(null_mut(), irp, event) }
}

/// Marks its own request pending in its completion routine, where it has no stack location.
struct MarksOwn;

impl Filter for MarksOwn {
    fn pass(_: *mut DEVICE_OBJECT, below: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let mut done: KEVENT = event();
        let done: *mut KEVENT = &raw mut done;
        initialise(done);
        let own = nt!(IoAllocateIrp(4, 0));
        fill_in(own, SECOND);
        on_completion(own, marks, done.cast());
        nt!(IofCallDriver(below, own));
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iomarkirppending>
#[test]
fn the_creator_of_an_irp_does_not_mark_it_pending() {
    stops::<MarksOwn>(SECOND, Rule::OwnIrp, (NO_CODE, 0));
}
