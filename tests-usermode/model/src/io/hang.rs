//! What is wrong when nothing goes on.

use std::sync::Arc;

use crate::{
    host::{
        Call, Kernel,
        thread::{self, Thread},
    },
    verifier::{BugCheck, Rule, Violation},
};

/// What is wrong where nothing can go on, and nothing has broken a rule.
pub(crate) fn hang(kernel: &Arc<Kernel>) -> Violation {
    thread::replace_current(Some(Thread::new(kernel, "nobody")));
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
        None => (
            BugCheck(0, [0; 4]),
            Rule::Hang,
            "every thread waits for another".into(),
        ),
    };
    let mut violation = call.violation(bug_check, rule, what);
    // The stack is that of who explores.
    violation.callers.clear();
    drop(call);
    thread::replace_current(None);
    violation
}
