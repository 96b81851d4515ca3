//! Device stacks: PnP and power requests, removal, remove locks and stack locations.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, IO_REMOVE_LOCK, IRP, KDPC, KTIMER, NTSTATUS, STATUS_CANCELLED, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ntmodel::{Device, Kernel};

use crate::{
    call::{initialise_dpc, join_thread, spawn},
    frame::{CORRECT, Lock},
    steps::{FIRST, Stage, Steps, complete, end_of, entry, lower, mark, skip},
};

const PASSES_FAILURE: u8 = 1;
const COMPLETES_POWER: u8 = 2;
const FAILS_POWER: u8 = 3;
const LEAVES_TIMER: u8 = 4;
const RELEASES_WHEN_PENDED: u8 = 5;
const IGNORES_FAILURE: u8 = 6;
const USES_AFTER_RELEASE: u8 = 7;
const RELEASES_TWICE: u8 = 8;
const HAS_BOTH_FLAGS: u8 = 9;
const CHANGES_IRQL: u8 = 10;
const RELEASES_NEVER: u8 = 11;
/// The correct drivers: those that pend a request, that have a thread, and that have a DPC.
const PENDS: u8 = 20;
const HAS_THREAD: u8 = 21;
const HAS_DPC: u8 = 22;

const SIZE: u32 = 32;

struct Pnp<const M: u8>;

struct Own {
    remove_lock: UnsafeCell<IO_REMOVE_LOCK>,
    lock: Lock,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    thread: Cell<*mut c_void>,
    pended: Cell<*mut IRP>,
}

impl Own {
    fn tag(&self) -> *mut c_void {
        from_ref(self).cast_mut().cast()
    }

    fn acquire(&self, tag: *mut c_void) -> bool {
        let (lock, file) = (self.remove_lock.get(), c"pnp.rs".as_ptr());
        nt!(IoAcquireRemoveLockEx(lock, tag, file, 1, SIZE)) >= 0
    }

    fn release(&self, tag: *mut c_void) {
        nt!(IoReleaseRemoveLockEx(self.remove_lock.get(), tag, SIZE));
    }
}

fn polls<const M: u8>(own: &Own) {
    let tag = own.lock.get().cast();
    if own.acquire(tag) || M == IGNORES_FAILURE {
        own.lock.with(|| ());
        own.release(tag);
    }
}

fn deferred<const M: u8>(own: &Own) {
    let tag = own.pended.get().cast();
    if M == USES_AFTER_RELEASE {
        own.release(tag);
        own.lock.with(|| ());
    } else {
        own.lock.with(|| ());
        own.release(tag);
    }
}

impl<const M: u8> Steps for Pnp<M> {
    type Own = Own;

    const FLAGS: u32 = if M == HAS_BOTH_FLAGS {
        nt::DO_BUFFERED_IO | nt::DO_DIRECT_IO
    } else {
        nt::DO_BUFFERED_IO
    };

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        nt!(IoInitializeRemoveLockEx(
            own.remove_lock.get(),
            0,
            0,
            0,
            SIZE
        ));
        own.lock.initialise();
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, deferred::<M>);
        if matches!(M, HAS_THREAD | IGNORES_FAILURE) {
            own.thread.set(spawn(own, polls::<M>));
        }
    }

    fn pass_down(device: *mut DEVICE_OBJECT, _: &Own, irp: *mut IRP) -> NTSTATUS {
        let lower = lower::<Self>(device);
        let major = nt!(irp::major_function(irp));
        let minor = nt!(irp::minor_function(irp));
        let is_power = major == nt::IRP_MJ_POWER;
        match M {
            COMPLETES_POWER if is_power => return complete(irp, STATUS_SUCCESS),
            FAILS_POWER if is_power => return complete(irp, nt::STATUS_NOT_SUPPORTED),
            PASSES_FAILURE if !is_power && minor == nt::IRP_MN_QUERY_REMOVE_DEVICE => {
                nt!(irp::set_status(irp, STATUS_UNSUCCESSFUL));
            }
            CHANGES_IRQL if is_power => {
                let status = skip(lower, irp);
                let _ = nt!(KeRaiseIrqlToDpcLevel());
                return status;
            }
            _ => {}
        }
        skip(lower, irp)
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let tag = irp.cast();
        if !own.acquire(tag) {
            return complete(irp, nt::STATUS_DELETE_PENDING);
        }
        match M {
            PENDS | RELEASES_WHEN_PENDED => {
                mark(irp);
                own.pended.set(irp);
                if M == RELEASES_WHEN_PENDED {
                    own.release(tag);
                }
                STATUS_PENDING
            }
            HAS_DPC | USES_AFTER_RELEASE => {
                own.pended.set(tag.cast());
                nt!(KeSetTimer(own.timer.get(), -10, own.dpc.get()));
                complete(irp, STATUS_SUCCESS)
            }
            _ => {
                if M == LEAVES_TIMER {
                    nt!(KeSetTimer(own.timer.get(), -10, null_mut()));
                }
                if M != RELEASES_NEVER {
                    own.release(tag);
                }
                if M == RELEASES_TWICE {
                    own.release(tag);
                }
                complete(irp, STATUS_SUCCESS)
            }
        }
    }

    fn unload() {
        nt!(KeFlushQueuedDpcs());
    }

    fn remove(own: &Own) {
        own.acquire(own.tag());
        if M == PENDS {
            let pended = own.pended.replace(null_mut());
            if !pended.is_null() {
                complete(pended, STATUS_CANCELLED);
                own.release(pended.cast());
            }
        }
        nt!(IoReleaseRemoveLockAndWaitEx(
            own.remove_lock.get(),
            own.tag(),
            SIZE
        ));
        if matches!(M, HAS_THREAD | IGNORES_FAILURE) {
            join_thread(own.thread.get());
        }
    }
}

/// Sends a request of PnP and one of power, and removes the device.
fn managed<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Pnp<CORRECT>>, &[entry::<Pnp<M>>]);
    stage.device.power(IRP_MN_SET_POWER);
    stage.device.pnp(IRP_MN_QUERY_CAPABILITIES);
    stage.tear_down();
}

const IRP_MN_SET_POWER: u8 = 2;
const IRP_MN_QUERY_CAPABILITIES: u8 = 9;

/// Sends a request, and removes the device.
fn removed<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Pnp<M>>(kernel);
    let request = stage.device.internal_device_control(FIRST, &[], Vec::new());
    remove(stage);
    end_of(&request);
}

fn remove(stage: Stage) {
    stage.tear_down();
}

/// Removes the device as soon as it has started.
fn started<const M: u8>(kernel: &Arc<Kernel>) {
    remove(Stage::set::<Pnp<M>>(kernel));
}

const LENGTHENS_NO_STACK: u8 = 2;
const FORWARDS: u8 = 3;
/// A filter of the other stack.
const PASSES: u8 = 4;

/// A driver that sends its requests to another device stack.
struct Forwards<const M: u8>;

/// The device object that requests are forwarded to.
#[repr(C)]
struct Target {
    target: Cell<*mut DEVICE_OBJECT>,
}

/// The device object at the top of a stack.
fn top(mut device: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
    loop {
        // SAFETY: the device object is alive.
        let above = unsafe { (*device).AttachedDevice };
        if above.is_null() {
            return device;
        }
        device = above;
    }
}

impl<const M: u8> Steps for Forwards<M> {
    type Own = Target;

    fn control(device: *mut DEVICE_OBJECT, own: &Target, irp: *mut IRP, code: u32) -> NTSTATUS {
        if M == PASSES {
            nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
            return nt!(IofCallDriver(lower::<Self>(device), irp));
        }
        if code == FIRST && own.target.get().is_null() {
            // The test passes the target in the system buffer.
            let target = crate::frame::get(nt!(irp::system_buffer(irp)).cast::<[u8; 8]>());
            let target = usize::from_ne_bytes(target);
            own.target
                .set(top(std::ptr::with_exposed_provenance_mut(target)));
            if M == FORWARDS {
                // SAFETY: the target is a device object.
                let above = unsafe { (*own.target.get()).StackSize } + 1;
                // SAFETY: the device object is this driver's.
                unsafe { (*device).StackSize = above };
            }
            return complete(irp, STATUS_SUCCESS);
        }
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        nt!(IofCallDriver(own.target.get(), irp))
    }
}

/// Opens the second stack, whose requests go to the first.
fn forwarded<const M: u8>(kernel: &Arc<Kernel>) {
    let below = Stage::stack(
        kernel,
        entry::<Pnp<CORRECT>>,
        &[entry::<Forwards<PASSES>>, entry::<Forwards<PASSES>>],
    );
    let stage = Stage::set::<Forwards<M>>(kernel);
    let target: &Device = &below.device;
    let address = target.object().to_ne_bytes();
    end_of(&stage.file.device_control(FIRST, &address, Vec::new()));
    end_of(&stage.send(FIRST));
    stage.tear_down();
    below.tear_down();
}

pairs! {
    pnp_request_is_failed_and_passed_down:
        managed::<PASSES_FAILURE>, managed::<CORRECT>, PnpIrpCompletion, "passed down with the status";
    power_request_is_completed_and_not_passed_down:
        managed::<COMPLETES_POWER>, managed::<CORRECT>, PowerUpFail, "IRP_MJ_POWER";
    power_request_is_failed_as_not_supported:
        managed::<FAILS_POWER>, managed::<CORRECT>, PowerUpFail, "IRP_MJ_POWER";
    power_routine_returns_at_another_irql:
        managed::<CHANGES_IRQL>, managed::<CORRECT>, IrqlReturn, "";
    device_does_buffered_and_direct_io:
        started::<HAS_BOTH_FLAGS>, started::<CORRECT>, DeviceFlags, "DO_DIRECT_IO";
    device_is_deleted_with_a_timer:
        removed::<LEAVES_TIMER>, removed::<CORRECT>, Dpc, "";
    device_is_removed_while_a_request_pends:
        removed::<RELEASES_WHEN_PENDED>, removed::<PENDS>, IrpProcessingComplete, "";
    failure_to_acquire_a_remove_lock_is_ignored:
        started::<IGNORES_FAILURE>, started::<HAS_THREAD>, RemoveLock, "";
    device_extension_is_used_after_the_remove_lock_was_released:
        removed::<USES_AFTER_RELEASE>, removed::<HAS_DPC>, FreedMemory, "";
    remove_lock_is_released_twice:
        removed::<RELEASES_TWICE>, removed::<CORRECT>, RemoveLock, "";
    remove_lock_is_never_released:
        removed::<RELEASES_NEVER>, removed::<CORRECT>, Hang, "remove lock";
    irp_has_too_few_stack_locations:
        forwarded::<LENGTHENS_NO_STACK>, forwarded::<FORWARDS>, StackLocations, "stack location";
}
