//! A filter's own requests to the driver below, which it cancels after a timeout or when its device is removed.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{
    DEVICE_OBJECT, IO_REMOVE_LOCK, IRP, KEVENT, NTSTATUS, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT,
    interlocked::{InterlockedDecrement, InterlockedExchangePointer},
};
use ntmodel::Kernel;

use crate::{
    call::{
        BLOCK, acquire_remove_lock, build_io_control, fill_in, on_completion, sets_event, wait,
    },
    filters::{Function, KEEP, LATER},
    frame::{CORRECT, Lock, initialise_event, set_event, wait_for},
    steps::{FIRST, Stage, Steps, complete, end_of, entry, lower},
};

fn allocate_irp(lower: *mut DEVICE_OBJECT, code: u32) -> *mut IRP {
    // SAFETY: the device object is attached to.
    let size = unsafe { (*lower).StackSize };
    let own = nt!(IoAllocateIrp(size, 0));
    fill_in(own, code);
    own
}

const FREES_AFTER_CANCEL: u8 = 1;
const ROUTINE_FREES: u8 = 2;
const CANCELS_ENDED: u8 = 3;
const USES_NO_DEVICE: u8 = 4;
/// The correct driver that cancels a request of `IoBuildDeviceIoControlRequest`.
const CANCELS_HELD: u8 = 10;

/// Waits for a time for its request, and cancels it then.
struct Asks<const M: u8>;

unsafe extern "C" fn frees(_: *mut DEVICE_OBJECT, irp: *mut IRP, event: *mut c_void) -> NTSTATUS {
    nt!(IoFreeIrp(irp));
    set_event(event.cast());
    STATUS_MORE_PROCESSING_REQUIRED
}

/// The driver has no stack location in its IRP, so the routine gets no device object.
unsafe extern "C" fn uses_device(
    device: *mut DEVICE_OBJECT,
    _: *mut IRP,
    event: *mut c_void,
) -> NTSTATUS {
    // SAFETY: only the address is computed.
    let field = unsafe { &raw const (*device).DeviceExtension };
    // SAFETY: the address is that of a field of NULL, which the model detects.
    let _ = unsafe { field.read_volatile() };
    set_event(event.cast());
    STATUS_MORE_PROCESSING_REQUIRED
}

fn waits_or_cancels(own: *mut IRP, event: *mut KEVENT) {
    if wait_for(event, 100) == STATUS_TIMEOUT {
        nt!(IoCancelIrp(own));
        wait(event);
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/different-ways-of-handling-irps-cheat-sheet):
/// the completion routine keeps the IRP, so that it is valid when it is cancelled.
fn ask_io_manager<const M: u8>(lower: *mut DEVICE_OBJECT, code: u32) {
    let (mut back, mut ended, mut block) =
        (KEVENT { Header: [0; 3] }, KEVENT { Header: [0; 3] }, BLOCK);
    let (back, ended) = (&raw mut back, &raw mut ended);
    initialise_event(back);
    initialise_event(ended);
    let own = build_io_control(code, lower, ended, &raw mut block);
    if M == CANCELS_HELD {
        on_completion(own, sets_event, back.cast());
    }
    let status = nt!(IofCallDriver(lower, own));
    if M == CANCELS_HELD {
        waits_or_cancels(own, back);
        nt!(IofCompleteRequest(own, 0));
        if status == STATUS_PENDING {
            wait(ended);
        }
    } else if status == STATUS_PENDING {
        waits_or_cancels(own, ended);
    }
}

impl<const M: u8> Steps for Asks<M> {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, code: u32) -> NTSTATUS {
        let lower = lower::<Self>(device);
        if matches!(M, CANCELS_HELD | CANCELS_ENDED) {
            ask_io_manager::<M>(lower, code);
            return complete(irp, STATUS_SUCCESS);
        }
        let mut event = KEVENT { Header: [0; 3] };
        let event = &raw mut event;
        initialise_event(event);
        let own = allocate_irp(lower, code);
        let routine = match M {
            ROUTINE_FREES => frees,
            USES_NO_DEVICE => uses_device,
            _ => sets_event,
        };
        on_completion(own, routine, event.cast());
        nt!(IofCallDriver(lower, own));
        if M == FREES_AFTER_CANCEL {
            if wait_for(event, 100) == STATUS_TIMEOUT {
                nt!(IoCancelIrp(own));
            }
        } else {
            waits_or_cancels(own, event);
        }
        if M != ROUTINE_FREES {
            nt!(IoFreeIrp(own));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

const READS_POINTER: u8 = 1;
const SENDS_AGAIN: u8 = 2;

/// Has a request pending below, as for `IRP_MN_WAIT_WAKE`, which it cancels at the second request or at the removal.
struct Waits<const M: u8>;

struct Own {
    remove_lock: UnsafeCell<IO_REMOVE_LOCK>,
    lock: Lock,
    irp: AtomicPtr<IRP>,
    /// The request below, and the one who may cancel it.
    references: AtomicI32,
}

const TAG: *mut c_void = std::ptr::without_provenance_mut(1);

impl Own {
    fn release(&self, irp: *mut IRP) {
        if InterlockedDecrement(&self.references) == 0 {
            nt!(IoFreeIrp(irp));
        }
    }

    fn cancel<const M: u8>(&self) {
        if M == READS_POINTER {
            let irp = self.irp.load(SeqCst);
            if !irp.is_null() {
                nt!(IoCancelIrp(irp));
            }
            return;
        }
        let irp = InterlockedExchangePointer(&self.irp, null_mut());
        if !irp.is_null() {
            nt!(IoCancelIrp(irp));
            self.release(irp);
        }
    }
}

unsafe extern "C" fn woken<const M: u8>(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    own: *mut c_void,
) -> NTSTATUS {
    // SAFETY: a correct driver keeps its device until the request has ended.
    let own = unsafe { &*own.cast::<Own>() };
    own.lock.with(|| ());
    if M == READS_POINTER {
        InterlockedExchangePointer(&own.irp, null_mut());
        nt!(IoFreeIrp(irp));
    } else {
        own.release(irp);
    }
    nt!(IoReleaseRemoveLockEx(own.remove_lock.get(), TAG, 32));
    STATUS_MORE_PROCESSING_REQUIRED
}

impl<const M: u8> Steps for Waits<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        own.lock.initialise();
        nt!(IoInitializeRemoveLockEx(own.remove_lock.get(), 0, 0, 0, 32));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code != LATER && code != KEEP {
            own.cancel::<M>();
            return complete(irp, STATUS_SUCCESS);
        }
        let lower = lower::<Self>(device);
        acquire_remove_lock(own.remove_lock.get(), TAG, 32);
        let sent = allocate_irp(lower, code);
        own.references.store(2, SeqCst);
        own.irp.store(sent, SeqCst);
        let context: *const Own = own;
        on_completion(sent, woken::<M>, context.cast_mut().cast());
        nt!(IofCallDriver(lower, sent));
        if M == SENDS_AGAIN {
            on_completion(sent, woken::<M>, context.cast_mut().cast());
            nt!(IofCallDriver(lower, sent));
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Own) {
        own.cancel::<M>();
        acquire_remove_lock(own.remove_lock.get(), null_mut(), 32);
        nt!(IoReleaseRemoveLockAndWaitEx(
            own.remove_lock.get(),
            null_mut(),
            32
        ));
    }
}

fn asked<const M: u8, const CODE: u32>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Asks<M>>]);
    end_of(&stage.send(CODE));
    stage.tear_down();
}

fn woken_and_cancelled<const M: u8, const CODE: u32>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Waits<M>>]);
    end_of(&stage.send(CODE));
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

fn removed_while_sent<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Waits<M>>]);
    end_of(&stage.send(LATER));
    stage.tear_down();
}

pairs! {
    irp_is_freed_after_it_was_cancelled_and_has_not_returned:
        asked::<FREES_AFTER_CANCEL, LATER>, asked::<CORRECT, LATER>, IoAllocateFree, "";
    irp_that_its_completion_routine_frees_is_cancelled:
        asked::<ROUTINE_FREES, LATER>, asked::<CORRECT, KEEP>, CompletedIrp, "";
    irp_that_the_io_manager_frees_is_cancelled:
        asked::<CANCELS_ENDED, LATER>, asked::<CANCELS_HELD, LATER>, CompletedIrp, "";
    completion_routine_uses_a_device_object_that_it_does_not_get:
        asked::<USES_NO_DEVICE, LATER>, asked::<CANCELS_HELD, KEEP>, Pointer, "";
    irp_is_cancelled_by_a_pointer_that_its_completion_routine_clears:
        woken_and_cancelled::<READS_POINTER, LATER>, woken_and_cancelled::<CORRECT, LATER>, CompletedIrp, "";
    irp_is_sent_again_while_the_lower_driver_has_it:
        woken_and_cancelled::<SENDS_AGAIN, KEEP>, woken_and_cancelled::<CORRECT, KEEP>, CompleteRequest, "still has the IRP";
    irp_is_sent_again_while_the_lower_driver_will_complete_it:
        woken_and_cancelled::<SENDS_AGAIN, LATER>, removed_while_sent::<CORRECT>, StackLocations, "";
}
