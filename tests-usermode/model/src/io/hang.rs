//! Hangs, and IRPs and threads that remain at the end of a scenario.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    host::{
        Call, Kernel,
        thread::{Attached, Thread},
    },
    io::irp::Origin,
    verifier::{BugCheck, Rule, Violation},
};

impl Call {
    /// Stops the system if a thread waits at `APC_LEVEL` for the event of a request that it has made: the I/O manager sets the event in
    /// an APC of the thread.
    pub(crate) fn require_event_without_apc(&self, event: usize) {
        let io = self.kernel.io();
        if io.threaded.load(Ordering::Relaxed) == 0 {
            return;
        }
        let made = io
            .live()
            .into_iter()
            .filter(|record| record.origin == Origin::Threaded && record.sender == self.number);
        for record in made {
            // SAFETY: the lower driver does not change the field.
            let own = unsafe { (*record.raw()).UserEvent };
            self.require(own.addr() != event, Rule::Hang, || {
                format!(
                    "the thread waits at APC_LEVEL for the event of {record}, which the I/O manager sets in an APC of this thread: wait \
                     at PASSIVE_LEVEL, and under no fast mutex"
                )
            });
        }
    }
}

/// Returns the violation if no thread can continue and no rule was broken.
pub(crate) fn hang(kernel: &Arc<Kernel>) -> Violation {
    let _attached = Attached::as_thread(Thread::new(kernel, "nobody"));
    let call = Call::enter("no thread can continue");
    let mut live = kernel.io().live();
    // Cancelled IRPs are reported first, since Driver Verifier reports them.
    live.sort_by_key(|record| {
        let is_general = record.diagnose().0 == Rule::IrpProcessingComplete;
        (!record.is_cancelled(), is_general, record.number)
    });
    let (bug_check, rule, what) = match live.first() {
        _ if kernel.waits_for_lock() => {
            let what = "a thread waits for a spin lock that is never released";
            (BugCheck::NONE, Rule::Hang, what.into())
        }
        Some(record) => {
            let (rule, what) = record.diagnose();
            let bug_check = if record.is_cancelled() {
                BugCheck::verifier(0x135, [record.address() as u64, 0, 0])
            } else {
                BugCheck::NONE
            };
            (bug_check, rule, what)
        }
        None => {
            let holders = kernel.remove_lock_waited_for();
            let removal = holders.map(|holders| format!("a removal waits for {holders}"));
            let what = removal.or_else(|| call.file_references());
            let what = what.unwrap_or_else(|| "every thread waits for another one".into());
            (BugCheck::NONE, Rule::Hang, what)
        }
    };
    let mut violation = call.violation(bug_check, rule, what);
    // The current stack belongs to the explorer.
    violation.callers.clear();
    violation
}

/// Stops the system at the end of a scenario if an IRP remains that is not completed and cannot be cancelled, or a
/// thread of the driver that waits.
pub(crate) fn verify_end(call: &Call) {
    let live = call.kernel.io().live();
    if let Some(record) = live.iter().find(|record| !record.has_cancel_routine()) {
        let (rule, what) = record.diagnose();
        let what =
            format!("{what}: it remains at the end of the scenario, and cannot be cancelled");
        call.stop(BugCheck::NONE, rule, what);
    }
    let threads = call.kernel.driver_threads();
    call.require(threads == 0, Rule::SystemThread, || {
        format!("{threads} threads of the driver remain at the end of the scenario")
    });
}
