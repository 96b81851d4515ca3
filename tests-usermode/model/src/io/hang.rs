//! What is wrong when nothing goes on.

use std::sync::Arc;

use crate::{
    host::{
        Call, Kernel,
        thread::{Attached, Thread},
    },
    verifier::{BugCheck, Rule, Violation},
};

/// What is wrong where nothing can go on, and nothing has broken a rule.
pub(crate) fn hang(kernel: &Arc<Kernel>) -> Violation {
    let _attached = Attached::as_thread(Thread::new(kernel, "nobody"));
    let call = Call::enter("nothing can go on");
    let mut live = kernel.io().live();
    // What was cancelled comes first: that is what Driver Verifier would say.
    live.sort_by_key(|record| (!record.is_cancelled(), record.number));
    let (bug_check, rule, what) = match live.first() {
        _ if kernel.waits_for_lock() => {
            let what = "a thread waits for a spin lock that is never released";
            (BugCheck(0, [0; 4]), Rule::Hang, what.into())
        }
        Some(record) => {
            let (rule, what) = record.diagnose();
            let bug_check = if record.is_cancelled() {
                BugCheck::verifier(0x135, [record.address() as u64, 0, 0])
            } else {
                BugCheck(0, [0; 4])
            };
            (bug_check, rule, what)
        }
        None => {
            let what = kernel.remove_lock_waited_for().map_or_else(
                || "every thread waits for another".into(),
                |holders| format!("a removal waits for {holders}"),
            );
            (BugCheck(0, [0; 4]), Rule::Hang, what)
        }
    };
    let mut violation = call.violation(bug_check, rule, what);
    // The stack is that of who explores.
    violation.callers.clear();
    violation
}

/// Stops the system at the end of a scene if an IRP is left that nobody ends and nobody can cancel, or a thread of the driver's
/// that waits.
pub(crate) fn verify_end(call: &Call) {
    let live = call.kernel.io().live();
    if let Some(record) = live.iter().find(|record| !record.has_cancel_routine()) {
        let (rule, what) = record.diagnose();
        let what = format!("{what}: it is left at the end of the scene, and nobody can cancel it");
        call.stop(BugCheck(0, [0; 4]), rule, what);
    }
    let threads = call.kernel.driver_threads();
    call.require(threads == 0, Rule::SystemThread, || {
        let what = format!("{threads} threads of the driver's are left at the end of the scene");
        (BugCheck(0, [0; 4]), what)
    });
}
