//! `KePulseEvent`: an event that is set for the threads that wait for it.
//!
//! A thread that waits for several objects does not observe a pulse. On Windows, neither does a thread that runs a kernel APC.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kepulseevent)

use std::sync::{Arc, atomic::Ordering};

use nt::{_EVENT_TYPE::NotificationEvent, DISPATCH_LEVEL, KEVENT};

use crate::{
    host::{Call, Kernel, thread::Thread, wait::Wait},
    mutex::locked,
    verifier::Rule,
};

impl Thread {
    /// Satisfies the thread's wait for an object if it was pulsed during the wait.
    pub(in crate::ke) fn take_pulse(&self, object: usize) -> Option<()> {
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let taken = self.pulsed.compare_exchange(object, 0, order.0, order.1);
        taken.ok().map(drop)
    }

    /// Clears the record of a pulse during an earlier wait.
    pub(in crate::ke) fn forget_pulse(&self) {
        self.pulsed.store(0, Ordering::Relaxed);
    }

    /// Records a pulse of an object if the thread waits for it; returns whether it does.
    fn pulse(&self, object: usize) -> bool {
        // With the mutex locked, so that the wait does not end before the pulse is recorded.
        let waits_for = locked(&self.waits_for);
        let waits = matches!(*waits_for, Some(Wait::Object(other) | Wait::Timed(other, _)) if other == object);
        if waits {
            self.pulsed.store(object, Ordering::Release);
        }
        waits
    }
}

/// Satisfies the waits of all threads for an object, or of one.
fn pulse(kernel: &Kernel, object: usize, is_notification: bool) {
    let threads: Vec<Arc<Thread>> = kernel.all_threads();
    for thread in threads {
        if thread.pulse(object) && !is_notification {
            break;
        }
    }
    kernel.sleepers.wake(Wait::Object(object));
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kepulseevent)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KePulseEvent(event: *mut KEVENT, _increment: i32, wait: u8) -> i32 {
    let call = Call::enter_visible("KePulseEvent", event);
    let most = if wait == 0 { DISPATCH_LEVEL } else { 1 };
    call.require_at_most(most, Rule::IrqlKeDispatchLte, 0x2_0011);
    // SAFETY: the caller passes an event.
    let object = unsafe { call.dispatcher(event) };
    let before = object.signal.swap(0, Ordering::AcqRel);
    let kind = object.kind.load(Ordering::Relaxed);
    if before == 0 {
        pulse(
            &call.kernel,
            event.addr(),
            i32::from(kind) == NotificationEvent,
        );
    }
    call.signalled(event, wait);
    before
}
