//! How a kernel is made.

use std::{sync::Arc, time::Duration};

use crate::verifier::Faults;

/// What becomes of the program after a violation. The thread that it is found in never goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// The violation is printed, and the program aborted.
    Abort,
    /// Every thread in the kernel stops, and so does every thread that enters it. A wait in user mode ends with the
    /// report that the system has stopped; [`Kernel::violation`](crate::Kernel::violation) returns the reason.
    Halt,
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's time; but where a thread of user mode waits for more than a millisecond, the time until the next timer
    /// is skipped.
    Host,
    /// A time of the kernel's own: it goes on by 100 ns whenever somebody looks, and to the next timer when a
    /// thread waits in user mode and nothing else can happen. For one thread at a time.
    Virtual,
}

/// How a kernel is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many processors it has: at the most 64, and at least one.
    pub processors: u32,
    /// What becomes of the program after a violation.
    pub on_violation: OnViolation,
    /// What time it is.
    pub clock: Clock,
    /// Whether interlocked lists are looked through for what is inserted twice, which takes time.
    pub check_lists: bool,
    /// Whether each lock remembers the source line that took it, which takes much time.
    pub locations: bool,
    /// Whether the driver's messages go to the standard error stream.
    pub print: bool,
    /// How long a system call may take while every thread waits and no timer is set, before that is a hang.
    pub hang_after: Duration,
    /// The values of the service's key `Parameters`.
    pub parameters: Vec<(String, u32)>,
    /// Which requests of the driver for memory and objects fail.
    pub faults: Option<Arc<Faults>>,
}

impl Default for Config {
    /// Eight processors, the host's time, every check that costs little, and an abort.
    fn default() -> Self {
        Self {
            processors: 8,
            on_violation: OnViolation::Abort,
            clock: Clock::Host,
            check_lists: true,
            locations: false,
            print: true,
            hang_after: Duration::from_secs(20),
            parameters: Vec::new(),
            faults: None,
        }
    }
}
