//! Power states, devices that were never started, and devices that a driver opens by name.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{
    DEVICE_OBJECT, FILE_OBJECT, IO_STATUS_BLOCK, IRP, KEVENT, KTIMER, NTSTATUS,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING, STATUS_SUCCESS,
};
use ntmodel::{Driver, Kernel, PowerState};

use crate::{
    call::{fill_in, join_thread, on_completion, open_device, sets_event, spawn, wait},
    frame::{CORRECT, get, initialise_event},
    steps::{FIRST, Stage, Steps, complete, end_of, entry, lower, mark, skip},
};

const CONTINUES: u8 = 1;
const FORGETS_REQUEST: u8 = 2;
const IS_NOT_MARKED: u8 = 3;

/// Requests a state of the device for each state of the system, and completes the request for the latter at the end of the former.
/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-a-system-set-power-irp-in-a-device-power-policy-owner>
struct Policy<const M: u8>;

unsafe extern "C" fn is_powered<const M: u8>(
    _: *mut DEVICE_OBJECT,
    _: u8,
    _: i32,
    irp: *mut c_void,
    block: *mut IO_STATUS_BLOCK,
) {
    // SAFETY: the power manager passes the status block.
    let status = unsafe { (*block).Status };
    if M != FORGETS_REQUEST {
        complete(irp.cast(), status);
    }
}

unsafe extern "C" fn requests<const M: u8>(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    device: *mut c_void,
) -> NTSTATUS {
    let (set, d3) = (nt::IRP_MN_SET_POWER, 4);
    nt!(PoRequestPowerIrp(
        device.cast(),
        set,
        d3,
        Some(is_powered::<M>),
        irp.cast(),
        null_mut()
    ));
    if M == CONTINUES {
        return STATUS_SUCCESS;
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

impl<const M: u8> Steps for Policy<M> {
    type Own = u64;

    fn pass_down(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        let lower = lower::<Self>(device);
        let is_power = nt!(irp::major_function(irp)) == nt::IRP_MJ_POWER;
        if !is_power || nt!(irp::power(irp)).kind != 0 {
            return skip(lower, irp);
        }
        if M != IS_NOT_MARKED {
            mark(irp);
        }
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        on_completion(irp, requests::<M>, device.cast());
        nt!(IofCallDriver(lower, irp));
        STATUS_PENDING
    }
}

fn sleeps<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Policy<M>>(kernel);
    stage.device.set_power(PowerState::System(4));
    stage.tear_down();
}

const STOPS_WHAT_WAS_NOT_STARTED: u8 = 1;

/// Initialises a timer and starts a thread when its device starts. A device can be removed without having been started.
struct Starts<const M: u8>;

struct Started {
    timer: UnsafeCell<KTIMER>,
    thread: Cell<*mut c_void>,
    has_run: Cell<bool>,
}

impl<const M: u8> Steps for Starts<M> {
    type Own = Started;

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Started, irp: *mut IRP) -> NTSTATUS {
        let is_pnp = nt!(irp::major_function(irp)) == nt::IRP_MJ_PNP;
        if is_pnp && nt!(irp::minor_function(irp)) == nt::IRP_MN_START_DEVICE {
            nt!(KeInitializeTimer(own.timer.get()));
            own.thread.set(spawn(own, |_: &Started| ()));
            own.has_run.set(true);
        }
        skip(lower::<Self>(device), irp)
    }

    fn remove(own: &Started) {
        if own.has_run.get() || M == STOPS_WHAT_WAS_NOT_STARTED {
            nt!(KeCancelTimer(own.timer.get()));
        }
        if own.has_run.get() {
            join_thread(own.thread.get());
        }
    }
}

/// Removes a device that was not started, and one that was.
fn not_started<const M: u8>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry::<Starts<M>>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.remove().expect("no file is open");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    device.remove().expect("no file is open");
    driver.unload();
}

const DEREFERENCES_DEVICE: u8 = 1;
const KEEPS_FILE: u8 = 2;
const DEREFERENCES_AT_ONCE: u8 = 3;

/// A device that another driver opens by its name.
struct Target;

impl Steps for Target {
    type Own = u64;

    const NAME: Option<&str> = Some(r"\Device\Target");
}

/// Opens the target at one request, and uses and releases it at the next.
struct Opens<const M: u8>;

struct Opened {
    file: AtomicPtr<FILE_OBJECT>,
    device: AtomicPtr<DEVICE_OBJECT>,
}

impl<const M: u8> Steps for Opens<M> {
    type Own = Opened;

    fn control(_: *mut DEVICE_OBJECT, own: &Opened, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            let (file, device) = open_device(r"\Device\Target", 1).expect("it is there");
            own.file.store(file, SeqCst);
            own.device.store(device, SeqCst);
            if M == DEREFERENCES_AT_ONCE {
                nt!(ObfDereferenceObject(file.cast()));
            }
            return complete(irp, STATUS_SUCCESS);
        }
        let device = own.device.load(SeqCst);
        let mut event = KEVENT { Header: [0; 3] };
        let event = &raw mut event;
        initialise_event(event);
        let sent = nt!(IoAllocateIrp(2, 0));
        fill_in(sent, FIRST);
        on_completion(sent, sets_event, event.cast());
        nt!(IofCallDriver(device, sent));
        wait(event);
        nt!(IoFreeIrp(sent));
        let object = if M == DEREFERENCES_DEVICE {
            device.cast()
        } else {
            own.file.load(SeqCst).cast()
        };
        if !matches!(M, KEEPS_FILE | DEREFERENCES_AT_ONCE) {
            nt!(ObfDereferenceObject(object));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

fn opened<const M: u8>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry::<Target>) }.expect("DriverEntry");
    let target = driver.add_device().expect("AddDevice");
    target.start().expect("the device starts");
    let stage = Stage::set::<Opens<M>>(kernel);
    end_of(&stage.send(FIRST));
    if M == DEREFERENCES_AT_ONCE {
        // Without a file, the target can be removed.
        target.remove().expect("no file is open");
    }
    end_of(&stage.send(FIRST + 4));
    stage.tear_down();
    // It is removed already, or its file is open.
    let is_gone = target.is_removed() || M == KEEPS_FILE;
    assert!(target.remove().is_ok() || is_gone);
    driver.unload();
}

const KEEPS_POINTER: u8 = 1;

/// Gets an event of user mode at one request, and sets it at the next.
struct Signals<const M: u8>;

impl<const M: u8> Steps for Signals<M> {
    type Own = AtomicPtr<KEVENT>;

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code != FIRST {
            let event = own.load(SeqCst);
            nt!(KeSetEvent(event, 0, 0));
            if M != KEEPS_POINTER {
                nt!(ObfDereferenceObject(event.cast()));
            }
            return complete(irp, STATUS_SUCCESS);
        }
        let handle = get(nt!(irp::system_buffer(irp)).cast::<[u8; 8]>());
        let handle = std::ptr::without_provenance_mut(usize::from_le_bytes(handle));
        let (mut event, none) = (null_mut(), null_mut());
        // SAFETY: the kernel gives the variable.
        let kind = unsafe { nt::ExEventObjectType };
        let access = nt::EVENT_MODIFY_STATE;
        let status = nt!(ObReferenceObjectByHandle(
            handle,
            access,
            kind,
            1,
            &raw mut event,
            none
        ));
        assert_eq!(status, STATUS_SUCCESS);
        own.store(event.cast(), SeqCst);
        if M == KEEPS_POINTER {
            nt!(ObfDereferenceObject(event));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// The program closes the handle between the two requests.
fn signalled<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Signals<M>>(kernel);
    let event = kernel.create_event();
    let handle = event.handle().to_le_bytes();
    end_of(&stage.file.device_control(FIRST, &handle, Vec::new()));
    drop(event);
    end_of(&stage.send(FIRST + 4));
    stage.tear_down();
}

pairs! {
    event_of_user_mode_is_set_without_a_reference:
        signalled::<KEEPS_POINTER>, signalled::<CORRECT>, FreedMemory, "was freed";
    power_request_continues_and_is_completed_by_the_driver:
        sleeps::<CONTINUES>, sleeps::<CORRECT>, IrpProcessingComplete, "IRP_MJ_POWER";
    power_request_is_kept_for_good:
        sleeps::<FORGETS_REQUEST>, sleeps::<CORRECT>, IrpProcessingComplete, "";
    power_request_is_pending_and_not_marked:
        sleeps::<IS_NOT_MARKED>, sleeps::<CORRECT>, MarkIrpPending2, "";
    timer_of_a_device_that_was_not_started_is_cancelled:
        not_started::<STOPS_WHAT_WAS_NOT_STARTED>, not_started::<CORRECT>, Dpc, "was not initialised";
    device_object_is_dereferenced_instead_of_its_file:
        opened::<DEREFERENCES_DEVICE>, opened::<CORRECT>, Reference, "";
    file_object_of_a_target_is_kept:
        opened::<KEEPS_FILE>, opened::<CORRECT>, Reference, "";
    device_object_is_used_after_its_file_was_dereferenced:
        opened::<DEREFERENCES_AT_ONCE>, opened::<CORRECT>, Pointer, "which was freed";
}
