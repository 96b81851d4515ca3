//! `IoTimer` routines, timeouts of requests, holds of a remove lock across a timer, references to device objects, and power requests
//! as drivers for Windows XP send them.
//!
//! The expected results are those of these pages: [`IoInitializeTimer`], [`IoStopTimer`], [bug check 0xC9] (0xA), [`KeCancelTimer`],
//! [using remove locks], [`IoGetAttachedDeviceReference`], [`PoStartNextPowerIrp`], [`KeQuerySystemTimePrecise`], [canceling IRPs].
//!
//! [`IoInitializeTimer`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinitializetimer
//! [`IoStopTimer`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iostoptimer
//! [bug check 0xC9]: https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xc9--driver-verifier-iomanager-violation
//! [`KeCancelTimer`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kecanceltimer
//! [using remove locks]: https://learn.microsoft.com/windows-hardware/drivers/kernel/using-remove-locks
//! [`IoGetAttachedDeviceReference`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iogetattacheddevicereference
//! [`PoStartNextPowerIrp`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-postartnextpowerirp
//! [`KeQuerySystemTimePrecise`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerysystemtimeprecise
//! [canceling IRPs]: https://learn.microsoft.com/windows-hardware/drivers/kernel/canceling-irps

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{
    DEVICE_OBJECT, IO_REMOVE_LOCK, IRP, KDPC, KTIMER, NTSTATUS, STATUS_CANCELLED,
    STATUS_IO_TIMEOUT, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING, STATUS_SUCCESS,
    interlocked::{InterlockedExchange, InterlockedExchangePointer},
    irp::IoControl,
};
use ntmodel::{Kernel, PowerState};

use crate::{
    call::{acquire_remove_lock, initialise_dpc, on_completion},
    frame::{CORRECT, Lock, acquire_cancel, release_cancel},
    steps::{
        FIRST, SECOND, Stage, Steps, cancel, complete, end_of, entry, lower, mark, one_request,
        skip,
    },
};

const STOPS_ITSELF: u8 = 1;
const INITIALISES_TWICE: u8 = 2;
const STARTS_NOTHING: u8 = 3;
const ENDS_TWICE: u8 = 4;
const LEAVES_PENDED: u8 = 5;

/// Completes the pending request when a second one arrives, or when a timer expires.
struct Pends<const M: u8>;

struct Pended {
    lock: Lock,
    irp: AtomicPtr<IRP>,
}

impl Pended {
    /// Takes the pending request, if there is one.
    fn take<const M: u8>(&self) -> *mut IRP {
        if M == ENDS_TWICE {
            let irp = self.lock.with(|| self.irp.load(SeqCst));
            self.lock.with(|| self.irp.store(null_mut(), SeqCst));
            return irp;
        }
        self.lock.with(|| self.irp.swap(null_mut(), SeqCst))
    }

    fn end<const M: u8>(&self, status: NTSTATUS) {
        let irp = self.take::<M>();
        if !irp.is_null() {
            complete(irp, status);
        }
    }
}

unsafe extern "C" fn io_timer<const M: u8>(device: *mut DEVICE_OBJECT, own: *mut c_void) {
    // SAFETY: the context is the driver's data, which stays while the timer is enabled.
    let own = unsafe { &*own.cast::<Pended>() };
    if M != LEAVES_PENDED {
        own.end::<M>(STATUS_IO_TIMEOUT);
    }
    if M == STOPS_ITSELF {
        nt!(IoStopTimer(device));
    }
}

impl<const M: u8> Steps for Pends<M> {
    type Own = Pended;

    fn add(device: *mut DEVICE_OBJECT, own: &Pended) {
        own.lock.initialise();
        let context = from_ref(own).cast_mut().cast();
        if M != STARTS_NOTHING {
            nt!(IoInitializeTimer(device, Some(io_timer::<M>), context));
        }
        if M == INITIALISES_TWICE {
            nt!(IoInitializeTimer(device, Some(io_timer::<M>), context));
        }
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Pended, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code != FIRST {
            own.end::<M>(STATUS_SUCCESS);
            return complete(irp, STATUS_SUCCESS);
        }
        mark(irp);
        own.lock.with(|| own.irp.store(irp, SeqCst));
        nt!(IoStartTimer(device));
        STATUS_PENDING
    }

    fn other(device: *mut DEVICE_OBJECT, own: &Pended, irp: *mut IRP) -> NTSTATUS {
        if nt!(irp::major_function(irp)) == nt::IRP_MJ_CLOSE {
            nt!(IoStopTimer(device));
            own.end::<CORRECT>(STATUS_CANCELLED);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// Sends a request, and a second request that completes the first.
fn pends<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Pends<M>>(kernel);
    let request = stage.send(FIRST);
    stage.send(SECOND);
    end_of(&request);
    stage.tear_down();
}

/// Sends a request that the timer completes.
fn times_out<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Pends<M>>(kernel);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

/// The lower driver, which keeps each request until it is cancelled or a timer expires.
struct Keeps;

struct Kept {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    irp: AtomicPtr<IRP>,
}

/// Completes the kept request, unless it was cancelled.
fn timer_expired(own: &Kept) {
    let irql = acquire_cancel();
    let irp = InterlockedExchangePointer(&own.irp, null_mut());
    let is_own = !irp.is_null() && nt!(irp::IoSetCancelRoutine(irp, None)).is_some();
    release_cancel(irql);
    if is_own {
        complete(irp, STATUS_SUCCESS);
    }
}

impl Steps for Keeps {
    type Own = Kept;

    fn add(_: *mut DEVICE_OBJECT, own: &Kept) {
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, timer_expired);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Kept, irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        let irql = acquire_cancel();
        let is_cancelled = nt!(irp::is_cancel_requested(irp));
        if !is_cancelled {
            InterlockedExchangePointer(&own.irp, irp);
            nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
        }
        release_cancel(irql);
        if is_cancelled {
            complete(irp, STATUS_CANCELLED);
        } else {
            nt!(KeSetTimer(own.timer.get(), -10_000, own.dpc.get()));
        }
        STATUS_PENDING
    }

    fn cancel(own: &Kept, irp: *mut IRP) {
        InterlockedExchangePointer(&own.irp, null_mut());
        release_cancel(nt!(irp::cancel_irql(irp)));
        complete(irp, STATUS_CANCELLED);
    }

    fn remove(own: &Kept) {
        nt!(KeCancelTimer(own.timer.get()));
        nt!(KeFlushQueuedDpcs());
    }
}

/// Sends an IRP of its own for each request, which a watchdog timer cancels.
struct Watches;

struct Watch {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    own: AtomicPtr<IRP>,
    master: AtomicPtr<IRP>,
    /// Whether the watchdog or the completion routine has finished. The one that finishes last frees the IRP.
    is_one_finished: AtomicI32,
}

impl Watch {
    /// Called by the watchdog and by the completion routine when they finish. The second call frees the IRP and ends the request.
    fn finish(&self) {
        if InterlockedExchange(&self.is_one_finished, 1) == 0 {
            return;
        }
        let own = InterlockedExchangePointer(&self.own, null_mut());
        let status = nt!(irp::status(own));
        nt!(IoFreeIrp(own));
        complete(InterlockedExchangePointer(&self.master, null_mut()), status);
    }
}

fn watchdog_expired(watch: &Watch) {
    let own = watch.own.load(SeqCst);
    if !own.is_null() {
        nt!(IoCancelIrp(own));
    }
    watch.finish();
}

unsafe extern "C" fn returned(_: *mut DEVICE_OBJECT, _: *mut IRP, watch: *mut c_void) -> NTSTATUS {
    // SAFETY: as above.
    let watch = unsafe { &*watch.cast::<Watch>() };
    if nt!(KeCancelTimer(watch.timer.get())) != 0 {
        // The watchdog will not run.
        InterlockedExchange(&watch.is_one_finished, 1);
    }
    watch.finish();
    STATUS_MORE_PROCESSING_REQUIRED
}

impl Steps for Watches {
    type Own = Watch;

    fn add(_: *mut DEVICE_OBJECT, own: &Watch) {
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, watchdog_expired);
    }

    fn control(device: *mut DEVICE_OBJECT, watch: &Watch, irp: *mut IRP, code: u32) -> NTSTATUS {
        let lower = lower::<Self>(device);
        // SAFETY: the lower device object is alive.
        let size = unsafe { (*lower).StackSize };
        let own = nt!(IoAllocateIrp(size, 0));
        let (input_length, output_length) = (0, 0);
        let parameters = IoControl {
            code,
            input_length,
            output_length,
        };
        let next = nt!(IoGetNextIrpStackLocation(own));
        nt!(set_io_control(next, nt::IRP_MJ_DEVICE_CONTROL, parameters));
        let context = from_ref(watch).cast_mut().cast();
        on_completion(own, returned, context);
        mark(irp);
        InterlockedExchangePointer(&watch.master, irp);
        InterlockedExchangePointer(&watch.own, own);
        nt!(KeSetTimer(watch.timer.get(), -10_000, watch.dpc.get()));
        nt!(IofCallDriver(lower, own));
        STATUS_PENDING
    }

    fn remove(_: &Watch) {
        nt!(KeFlushQueuedDpcs());
    }
}

fn watched(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Keeps>, &[entry::<Watches>]);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

const FORGETS_HOLD: u8 = 1;
const RELEASES_ALWAYS: u8 = 2;

/// Holds its remove lock while a timer is set.
struct Holds<const M: u8>;

struct Held {
    remove_lock: UnsafeCell<IO_REMOVE_LOCK>,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

impl Held {
    fn tag(&self) -> *mut c_void {
        self.timer.get().cast()
    }

    fn acquire(&self, tag: *mut c_void) -> bool {
        acquire_remove_lock(self.remove_lock.get(), tag, 32) == STATUS_SUCCESS
    }

    fn release(&self, tag: *mut c_void) {
        nt!(IoReleaseRemoveLockEx(self.remove_lock.get(), tag, 32));
    }
}

impl<const M: u8> Steps for Holds<M> {
    type Own = Held;

    fn add(_: *mut DEVICE_OBJECT, own: &Held) {
        nt!(IoInitializeRemoveLockEx(own.remove_lock.get(), 1, 0, 0, 32));
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, |own: &Held| own.release(own.tag()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Held, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST && own.acquire(own.tag()) {
            nt!(KeSetTimer(own.timer.get(), -10_000, own.dpc.get()));
        } else if code == SECOND {
            let was_set = nt!(KeCancelTimer(own.timer.get())) != 0;
            // If it was not set, the DPC has released the lock or will.
            if was_set && M != FORGETS_HOLD || M == RELEASES_ALWAYS {
                own.release(own.tag());
            }
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Held) {
        let tag = from_ref(own).cast_mut().cast();
        own.acquire(tag);
        nt!(IoReleaseRemoveLockAndWaitEx(own.remove_lock.get(), tag, 32));
        nt!(KeFlushQueuedDpcs());
    }
}

fn holds<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Holds<M>>(kernel);
    end_of(&stage.send(FIRST));
    end_of(&stage.send(SECOND));
    stage.tear_down();
}

const KEEPS_REFERENCE: u8 = 1;
const DEREFERENCES_TWICE: u8 = 2;
const STARTS_NEXT_LATE: u8 = 3;

/// References the top device object of its stack, measures time, and passes power requests down with the routines of Windows XP.
struct Looks<const M: u8>;

impl<const M: u8> Steps for Looks<M> {
    type Own = Cell<i64>;

    fn control(device: *mut DEVICE_OBJECT, _: &Cell<i64>, irp: *mut IRP, _: u32) -> NTSTATUS {
        assert_eq!(nt!(IoIsWdmVersionAvailable(1, 0x20)), 1);
        let top = nt!(IoGetAttachedDeviceReference(lower::<Self>(device)));
        assert_eq!(top, device);
        if M != KEEPS_REFERENCE {
            nt!(ObfDereferenceObject(top.cast()));
        }
        if M == DEREFERENCES_TWICE {
            nt!(ObfDereferenceObject(top.cast()));
        }
        let (mut now, mut ticks) = (0, 0);
        nt!(KeQueryTickCount(&raw mut ticks));
        nt!(KeQuerySystemTime(&raw mut now));
        nt!(KeStallExecutionProcessor(10));
        // An absolute time, half a second from now.
        let mut due = now + 5_000_000;
        nt!(KeDelayExecutionThread(0, 0, &raw mut due));
        let mut later = 0;
        nt!(KeQuerySystemTime(&raw mut later));
        assert!(ticks >= 0 && later >= now + 5_000_000);
        complete(irp, STATUS_SUCCESS)
    }

    fn pass_down(device: *mut DEVICE_OBJECT, _: &Cell<i64>, irp: *mut IRP) -> NTSTATUS {
        let lower = lower::<Self>(device);
        if nt!(irp::major_function(irp)) != nt::IRP_MJ_POWER {
            return skip(lower, irp);
        }
        if M != STARTS_NEXT_LATE {
            nt!(PoStartNextPowerIrp(irp));
        }
        nt!(irp::IoSkipCurrentIrpStackLocation(irp));
        let status = nt!(PoCallDriver(lower, irp));
        if M == STARTS_NEXT_LATE {
            nt!(PoStartNextPowerIrp(irp));
        }
        status
    }
}

fn powered<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Looks<M>>(kernel);
    stage.device.set_power(PowerState::Device(3));
    stage.device.set_power(PowerState::Device(1));
    stage.tear_down();
}

/// A correct driver only. An exploration of 20,000 schedules finds no mistake of the incorrect versions.
#[test]
fn watchdog_and_completion_routine_free_an_irp_once() {
    crate::passes(watched);
}

pairs! {
    timer_is_stopped_by_its_own_routine:
        times_out::<STOPS_ITSELF>, times_out::<CORRECT>, IoTimer, "its own routine";
    timer_is_initialised_twice:
        pends::<INITIALISES_TWICE>, pends::<CORRECT>, IoTimer, "0x000000c9 (0xa";
    timer_is_started_and_was_not_initialised:
        pends::<STARTS_NOTHING>, pends::<CORRECT>, IoTimer, "IoInitializeTimer was not called";
    request_is_completed_by_its_timeout_and_by_the_driver:
        pends::<ENDS_TWICE>, pends::<CORRECT>, DoubleCompletion, "completed again";
    request_has_no_timeout:
        times_out::<LEAVES_PENDED>, times_out::<CORRECT>, IrpProcessingComplete, "";
    hold_of_a_cancelled_timer_is_not_released:
        holds::<FORGETS_HOLD>, holds::<CORRECT>, Hang, "remove lock";
    hold_is_released_by_the_dpc_too:
        holds::<RELEASES_ALWAYS>, holds::<CORRECT>, RemoveLock, "";
    reference_to_the_top_of_the_stack_is_kept:
        one_request::<Looks<KEEPS_REFERENCE>>, one_request::<Looks<CORRECT>>, Reference, "never released";
    device_object_is_dereferenced_twice:
        one_request::<Looks<DEREFERENCES_TWICE>>, one_request::<Looks<CORRECT>>, Reference, "no reference";
    next_power_request_is_started_after_the_last_has_ended:
        powered::<STARTS_NEXT_LATE>, powered::<CORRECT>, CompletedIrp, "";
}
