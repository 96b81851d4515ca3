//! Timers.

use std::{ptr::null_mut, sync::atomic::Ordering};

use nt::{
    DISPATCH_LEVEL, KDPC, KTIMER, NTSTATUS, NotificationTimer, STATUS_SUCCESS, SynchronizationTimer,
};

use crate::{
    host::{Call, footprint, layout::Timer},
    ke::clock,
    verifier::{BugCheck, Rule},
};

/// `TimerNotificationObject` and `TimerSynchronizationObject` of the kernel's object types.
const TIMER_NOTIFICATION_OBJECT: u8 = 8;
pub(crate) const TIMER_SYNCHRONIZATION_OBJECT: u8 = 9;

impl Call {
    pub(in crate::ke) fn timer<'a>(&self, timer: *mut KTIMER) -> &'a Timer {
        // SAFETY: the caller of the routine passes a timer that was initialised.
        let object = unsafe { self.view::<Timer, _>(timer) };
        let kind = object.header.kind.load(Ordering::Relaxed);
        let is_timer = [TIMER_NOTIFICATION_OBJECT, TIMER_SYNCHRONIZATION_OBJECT].contains(&kind);
        self.require(is_timer, Rule::Dpc, || {
            let bug_check = BugCheck(0xc7, [0, timer.addr() as u64, 0, 0]);
            let what = format!("the timer {timer:?} was not initialised");
            (bug_check, what)
        });
        object
    }

    /// Initialises a timer in the caller's memory.
    pub(crate) fn initialise_timer<'a>(&self, timer: *mut KTIMER, kind: i32) -> &'a Timer {
        self.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
        self.require(!self.kernel.clock.is_set(timer.addr()), Rule::Dpc, || {
            let bug_check = BugCheck(0xc7, [0, timer.addr() as u64, 0, 0]);
            let what = format!("the timer {timer:?} is initialised again while it is set");
            (bug_check, what)
        });
        footprint::initialise(timer);
        self.note_initialised(timer);
        self.require_room(timer);
        // SAFETY: the caller passes memory for a timer.
        unsafe { timer.write(KTIMER { Reserved: [0; 8] }) };
        // SAFETY: as above, and zero is valid for every field.
        let object = unsafe { self.view::<Timer, _>(timer) };
        let kind = if kind == SynchronizationTimer {
            TIMER_SYNCHRONIZATION_OBJECT
        } else {
            TIMER_NOTIFICATION_OBJECT
        };
        object.header.kind.store(kind, Ordering::Relaxed);
        object.header.waiters.initialise();
        object
    }

    /// Sets a timer that expires once; returns whether it was already set.
    pub(crate) fn set_timer(&self, object: &Timer, due: i64, dpc: *mut KDPC) -> bool {
        self.set_periodic_timer(object, due, 0, dpc)
    }

    /// Sets a timer with a period in milliseconds, or zero if it expires once.
    pub(crate) fn set_periodic_timer(
        &self,
        object: &Timer,
        due: i64,
        period: u32,
        dpc: *mut KDPC,
    ) -> bool {
        let clock = &self.kernel.clock;
        // A negative time is relative.
        let due = if due < 0 {
            clock.now().saturating_add(due.unsigned_abs())
        } else {
            due.unsigned_abs()
        };
        object.header.signal.store(0, Ordering::Release);
        object.due.set(due);
        object.dpc.set(dpc);
        object.period.set(period);
        object.processor.set(0);
        let timer = (&raw const *object).expose_provenance();
        let was_set = clock.set(&self.kernel, timer, due);
        clock::start_exploring(&self.kernel);
        was_set
    }

    /// Sets a timer of a driver; returns 1 if it was already set. The timer can expire before the driver continues.
    fn set_drivers_timer(&self, object: &Timer, due: i64, period: u32, dpc: *mut KDPC) -> u8 {
        let was_set = self.set_periodic_timer(object, due, period, dpc);
        self.switch_after(self.routine(), object);
        u8::from(was_set)
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeTimer(timer: *mut KTIMER) {
    Call::enter_noted("KeInitializeTimer").initialise_timer(timer, NotificationTimer);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializetimerex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeTimerEx(timer: *mut KTIMER, kind: i32) {
    Call::enter_noted("KeInitializeTimerEx").initialise_timer(timer, kind);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetTimer(timer: *mut KTIMER, due: i64, dpc: *mut KDPC) -> u8 {
    let call = Call::enter_visible("KeSetTimer", timer);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    let object = call.timer(timer);
    call.set_drivers_timer(object, due, 0, dpc)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettimerex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetTimerEx(timer: *mut KTIMER, due: i64, period: i32, dpc: *mut KDPC) -> u8 {
    let call = Call::enter_visible("KeSetTimerEx", timer);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    let object = call.timer(timer);
    let period = u32::try_from(period).unwrap_or_default();
    call.set_drivers_timer(object, due, period, dpc)
}

/// A timer that is allowed to expire later expires at its due time.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetcoalescabletimer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetCoalescableTimer(
    timer: *mut KTIMER,
    due: i64,
    period: u32,
    _tolerable_delay: u32,
    dpc: *mut KDPC,
) -> u8 {
    let call = Call::enter_visible("KeSetCoalescableTimer", timer).at_most(DISPATCH_LEVEL);
    let object = call.timer(timer);
    call.set_drivers_timer(object, due, period, dpc)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeCancelTimer(timer: *mut KTIMER) -> u8 {
    let call = Call::enter_visible("KeCancelTimer", timer);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    call.timer(timer);
    u8::from(call.kernel.clock.cancel(timer.addr()))
}

/// The wait ends with a timer of the model.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeDelayExecutionThread(_mode: i8, _alertable: u8, interval: *mut i64) -> NTSTATUS {
    let call = Call::enter_noted("KeDelayExecutionThread");
    call.require_at_most(1, Rule::IrqlKeApcLte1, 0x2_000f);
    // SAFETY: the caller passes a time.
    let interval = *unsafe { call.view::<i64, _>(interval) };
    let mut timer = KTIMER { Reserved: [0; 8] };
    let object = call.initialise_timer(&raw mut timer, NotificationTimer);
    call.set_timer(object, interval, null_mut());
    call.wait_for_object(&object.header);
    STATUS_SUCCESS
}
