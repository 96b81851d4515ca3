//! The steps of a schedule that is replayed.

use std::fmt;

use crate::{
    host::{Kernel, thread::Thread},
    mutex::locked,
    verifier::callers,
};

/// A step of a schedule: a routine whose effect other threads can observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the thread.
    pub thread: String,
    /// The routine.
    pub routine: &'static str,
    /// The address of the object that the routine works on.
    pub object: usize,
    /// The function, source file and line of the driver's call; empty if the model calls the routine for user mode.
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
    /// Records a step, if the kernel records steps.
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
