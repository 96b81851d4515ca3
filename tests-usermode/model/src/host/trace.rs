//! What happened, step by step: for a schedule that is played again.

use std::fmt;

use crate::{
    host::{Kernel, thread::Thread},
    mutex::locked,
    verifier::callers,
};

/// One step of a schedule: a routine whose effect other threads can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The thread's name.
    pub thread: String,
    /// The routine.
    pub routine: &'static str,
    /// The address of what it works on.
    pub object: usize,
    /// Where the driver calls it: function, source file and line; empty if the model calls it for a user.
    pub caller: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            thread,
            routine,
            object,
            caller,
        } = self;
        write!(f, "{thread:12} {routine:28} {object:#x}  {caller}")
    }
}

impl Kernel {
    /// Notes a step, if steps are noted.
    pub(crate) fn trace(&self, thread: &Thread, routine: &'static str, object: usize) {
        let Some(steps) = &self.steps else {
            return;
        };
        let step = Step {
            thread: thread.name().to_owned(),
            routine,
            object,
            caller: callers(1).pop().unwrap_or_default(),
        };
        locked(steps).push(step);
    }
}
