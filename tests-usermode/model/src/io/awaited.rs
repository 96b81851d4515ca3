//! Requests of a driver whose status block or event is on its stack, so that the driver must wait for them.

use std::sync::atomic::Ordering;

use crate::{
    host::{Call, layout::Dispatcher},
    io::irp::{IrpRecord, Origin},
    verifier::{BugCheck, Rule},
};

/// The maximum size of the frames of drivers on a stack.
const STACK: usize = 1 << 20;

impl Call {
    /// Returns whether an IRP is a request that its driver is about to send, and its event is set.
    pub(in crate::io) fn is_event_set(&self, record: &IrpRecord) -> bool {
        if record.origin != Origin::Threaded || record.is_down() {
            return false;
        }
        // SAFETY: the driver that sends the IRP owns it.
        let event = unsafe { (*record.raw()).UserEvent };
        // SAFETY: the event is the driver's, and stays until the request ends.
        !event.is_null()
            && unsafe { self.view::<Dispatcher, _>(event) }
                .signal
                .load(Ordering::Acquire)
                != 0
    }

    /// Stops the system if a dispatch routine has returned while the status block or event of a request that it has sent is on its stack.
    pub(in crate::io) fn require_awaited(&self) {
        let io = self.kernel.io();
        if io.threaded.load(Ordering::Relaxed) == 0 {
            return;
        }
        let here = 0_u8;
        let here = (&raw const here).addr();
        let sent = io
            .live()
            .into_iter()
            .filter(|record| record.origin == Origin::Threaded && record.sender == self.number);
        for record in sent {
            // SAFETY: the lower driver does not change the fields.
            let irp = unsafe { &*record.raw() };
            let freed = here.saturating_sub(STACK)..here;
            let answers = [
                (irp.UserIosb.addr(), 0xc, "IO_STATUS_BLOCK"),
                (irp.UserEvent.addr(), 0xd, "event"),
            ];
            let lost = answers
                .into_iter()
                .find(|(answer, ..)| freed.contains(answer));
            if let Some((answer, code, name)) = lost {
                let what = format!(
                    "a dispatch routine has returned and has not waited for {record}, whose {name} is on its stack"
                );
                let bug_check = BugCheck::io(code, [answer as u64, 0, 0]);
                self.stop(bug_check, Rule::IoBuildDeviceControlWait, what);
            }
        }
    }
}
