//! Calls: the driver's of the kernel's routines, and the kernel's of the driver's.

use std::{
    ops::Deref,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    Rule, Violation,
    bug_check::BugCheck,
    thread::{self, Mode, Thread},
};

/// A routine that runs in a thread of the model. What the thread does until this is dropped is the kernel's
/// doing, and not the driver's.
pub(crate) struct Call {
    thread: Arc<Thread>,
    routine: &'static str,
    mode: Mode,
}

impl Call {
    /// Enters a routine, unless the system has stopped: then the thread stops here.
    pub(crate) fn enter(routine: &'static str) -> Self {
        let mode = thread::set_mode(Mode::Kernel);
        let thread = thread::current(routine);
        if thread.kernel.is_halted() {
            thread.halt();
        }
        let call = Self {
            thread,
            routine,
            mode,
        };
        if call.is_probed.load(Ordering::Relaxed) {
            call.probe_device();
        }
        call
    }

    /// Enters a routine that other threads can see the effect of, on an object: another thread may run first.
    pub(crate) fn enter_visible<T>(routine: &'static str, object: *const T) -> Self {
        let call = Self::enter(routine);
        call.switch_point(routine, object.addr());
        call
    }

    /// The routine's name.
    pub(crate) fn routine(&self) -> &'static str {
        self.routine
    }

    /// The thread, to keep.
    pub(crate) fn thread(&self) -> &Arc<Thread> {
        &self.thread
    }

    /// Stops the system.
    pub(crate) fn stop(&self, bug_check: BugCheck, rule: Rule, what: impl Into<String>) -> ! {
        let violation = Violation::new(self, bug_check, rule, what.into());
        self.kernel.stop(violation);
        self.thread.halt()
    }

    /// Stops the system unless something holds.
    pub(crate) fn require(
        &self,
        holds: bool,
        rule: Rule,
        violation: impl FnOnce() -> (BugCheck, String),
    ) {
        if !holds {
            let (bug_check, what) = violation();
            self.stop(bug_check, rule, what);
        }
    }

    /// Calls a routine of the driver's, which runs in this thread.
    pub(crate) fn in_driver<R>(routine: impl FnOnce() -> R) -> R {
        let mode = thread::set_mode(Mode::Driver);
        let result = routine();
        thread::set_mode(mode);
        result
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        thread::set_mode(self.mode);
    }
}

impl Deref for Call {
    type Target = Thread;

    fn deref(&self) -> &Thread {
        &self.thread
    }
}
