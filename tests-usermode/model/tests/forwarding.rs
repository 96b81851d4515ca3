//! IRPs that are sent to the lower driver by `IoForwardIrpSynchronously`, or with a routine of `IoSetCompletionRoutineEx`, and the
//! process that has requested them. Microsoft's pages:
//! [1](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioforwardirpsynchronously),
//! [2](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcompletionroutineex),
//! [3](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iogetrequestorprocess)

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use nt::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{Access, BusAnswer, Config, Driver, Kernel, Rule};
use steps::{FIRST, Stage, Steps, complete, end_of, holds, lower, one_request, skip};

fn is_start(irp: *mut IRP) -> bool {
    let major = nt!(irp::major_function(irp));
    let minor = nt!(irp::minor_function(irp));
    (major, minor) == (nt::IRP_MJ_PNP, nt::IRP_MN_START_DEVICE)
}

/// Starts the device when the lower drivers have started it.
struct Forwards;

impl Steps for Forwards {
    type Own = ();

    fn pass_down(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP) -> NTSTATUS {
        let below = lower::<Self>(device);
        if !is_start(irp) {
            return skip(below, irp);
        }
        assert_eq!(nt!(IoForwardIrpSynchronously(below, irp)), 1);
        let status = nt!(irp::status(irp));
        assert_eq!(status, STATUS_SUCCESS, "the bus driver has completed it");
        complete(irp, status)
    }

    fn control(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        let file = nt!(irp::file_object(irp));
        assert_eq!(nt!(IoGetRelatedDeviceObject(file)), device);
        let below = lower::<Self>(device);
        assert_eq!(nt!(IoGetAttachedDevice(below)), device);
        assert_eq!(nt!(IoGetAttachedDevice(device)), device);
        complete(irp, STATUS_SUCCESS)
    }
}

fn start_with(kernel: &Arc<Kernel>, answer: Option<BusAnswer>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, steps::entry::<Forwards>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    if let Some(answer) = answer {
        device.bus_answers(nt::IRP_MN_START_DEVICE, answer);
    }
    device.start().expect("the device starts");
    let file = device.open_anyway(Access::Read).expect("it opens");
    let status = end_of(&file.device_control(FIRST, &[], Vec::new()));
    assert_eq!(status, STATUS_SUCCESS);
    file.close();
    device.remove().expect("no file is open");
    driver.unload();
}

#[test]
fn forwarded_irp_is_back_when_the_routine_returns() {
    holds(|kernel| start_with(kernel, None));
    holds(|kernel| start_with(kernel, Some(BusAnswer::Pend)));
}

static CALLED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn called(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    context: *mut c_void,
) -> NTSTATUS {
    assert_eq!(context.addr(), 7);
    CALLED.fetch_add(1, Ordering::SeqCst);
    if nt!(irp::pending_returned(irp)) {
        nt!(irp::IoMarkIrpPending(irp));
    }
    STATUS_SUCCESS
}

/// Registers a routine for success or for errors only.
struct Registers<const ON_SUCCESS: bool, const SENDS: bool>;

impl<const ON_SUCCESS: bool, const SENDS: bool> Registers<ON_SUCCESS, SENDS> {
    fn register(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
        let status = nt!(IoSetCompletionRoutineEx(
            device,
            irp,
            Some(called),
            std::ptr::without_provenance_mut(7),
            u8::from(ON_SUCCESS),
            u8::from(!ON_SUCCESS),
            0
        ));
        assert_eq!(status, STATUS_SUCCESS);
    }
}

impl<const ON_SUCCESS: bool, const SENDS: bool> Steps for Registers<ON_SUCCESS, SENDS> {
    type Own = ();

    fn pass_down(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP) -> NTSTATUS {
        let below = lower::<Self>(device);
        if !is_start(irp) {
            return skip(below, irp);
        }
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        Self::register(device, irp);
        nt!(IofCallDriver(below, irp))
    }

    fn control(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        if !SENDS {
            Self::register(device, irp);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn registered_routine_is_called_by_the_status() {
    one_request::<Registers<true, true>>(&Kernel::new(Config::default()));
    assert_eq!(CALLED.load(Ordering::SeqCst), 1, "the start succeeds");
    one_request::<Registers<false, true>>(&Kernel::new(Config::default()));
    assert_eq!(CALLED.load(Ordering::SeqCst), 1, "and does not fail");
}

#[test]
fn registered_routine_must_be_called() {
    let found = common::found_in(one_request::<Registers<false, false>>);
    assert_eq!(found.rule, Rule::IoSetCompletionExCompleteIrp, "{found}");
}

/// Reads the process of its request.
struct Requestor;

impl Steps for Requestor {
    type Own = ();

    fn add(_: *mut DEVICE_OBJECT, (): &()) {
        // AddDevice runs in the system's process, whose number is known.
        assert_eq!(nt!(PsGetCurrentProcessId()).addr(), 4);
        assert_eq!(nt!(ExGetPreviousMode()), nt::KERNEL_MODE);
    }

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        let process = nt!(IoGetRequestorProcess(irp));
        assert_eq!(process, nt!(IoGetCurrentProcess()));
        let id = nt!(IoGetRequestorProcessId(irp));
        assert_eq!(id as usize, nt!(PsGetCurrentProcessId()).addr());
        assert_ne!(id, 4, "a program has sent it");
        assert_eq!(nt!(ExGetPreviousMode()), 1, "UserMode");
        assert_eq!(nt!(PsGetCurrentThread()), nt!(PsGetCurrentThread()));
        let own = nt!(IoAllocateIrp(1, 0));
        assert_eq!(nt!(IoGetRequestorProcess(own)), null_mut(), "no thread");
        nt!(IoFreeIrp(own));
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn request_has_the_process_of_its_thread() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<Requestor>(&kernel);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}
