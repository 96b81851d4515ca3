//! Timers.

use std::sync::atomic::Ordering;

use nt::{DISPATCH_LEVEL, KDPC, KTIMER};

use crate::{Rule, bug_check::BugCheck, call::Call, clock, layout::Timer};

/// `TimerNotificationObject`, of the kernel's object types.
const TIMER_NOTIFICATION_OBJECT: u8 = 8;

impl Call {
    fn timer<'a>(&self, timer: *mut KTIMER) -> &'a Timer {
        // SAFETY: the caller of the routine gives a timer that was initialised.
        let object = unsafe { self.view::<Timer, _>(timer) };
        let kind = object.header.kind.load(Ordering::Relaxed);
        self.require(kind == TIMER_NOTIFICATION_OBJECT, Rule::Dpc, || {
            let bug_check = BugCheck(0xc7, [0, timer.addr() as u64, 0, 0]);
            (
                bug_check,
                format!("the timer {timer:?} was not initialised"),
            )
        });
        object
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeTimer(timer: *mut KTIMER) {
    let call = Call::enter("KeInitializeTimer");
    // SAFETY: the caller gives room for a timer.
    unsafe { timer.write(KTIMER { Reserved: [0; 8] }) };
    // SAFETY: as above, and it is zeroed, as every field may be.
    let object = unsafe { call.view::<Timer, _>(timer) };
    object
        .header
        .kind
        .store(TIMER_NOTIFICATION_OBJECT, Ordering::Relaxed);
    object.header.waiters.initialise();
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetTimer(timer: *mut KTIMER, due: i64, dpc: *mut KDPC) -> u8 {
    let call = Call::enter_visible("KeSetTimer", timer);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    let object = call.timer(timer);
    let clock = &call.kernel.clock;
    // A negative time is one from now.
    let due = if due < 0 {
        clock.now().saturating_add(due.unsigned_abs())
    } else {
        due.unsigned_abs()
    };
    object.header.signal.store(0, Ordering::Release);
    object.due.set(due);
    object.dpc.set(dpc);
    let was_set = clock.set(&call.kernel, timer.expose_provenance(), due);
    clock::start_exploring(&call.kernel);
    u8::from(was_set)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeCancelTimer(timer: *mut KTIMER) -> u8 {
    let call = Call::enter_visible("KeCancelTimer", timer);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    call.timer(timer);
    u8::from(call.kernel.clock.cancel(timer.addr()))
}
