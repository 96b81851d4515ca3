//! The configuration of a kernel.

use std::{sync::Arc, time::Duration};

use crate::verifier::Faults;

/// The effect of a violation on the program. The thread that caused it never continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// The violation is printed, and the program aborts.
    Abort,
    /// Every thread in the kernel stops, and so does every thread that enters it. A wait in user mode ends and reports
    /// that the system has stopped; [`Kernel::violation`](crate::Kernel::violation) returns the violation.
    Halt,
}

/// The clock of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's time, except that if a user-mode thread waits for more than a millisecond, the time until the next
    /// timer is skipped.
    Host,
    /// A virtual time. It advances by 100 ns whenever it is read, and to the next timer when a thread waits in user
    /// mode and no other thread can run. For one thread at a time.
    Virtual,
}

/// How a kernel is made.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each switches a check or an output on or off, independently of the others"
)]
pub struct Config {
    /// The number of processors, from 1 to 64.
    pub processors: u32,
    /// The effect of a violation on the program.
    pub on_violation: OnViolation,
    /// The clock.
    pub clock: Clock,
    /// Whether interlocked lists are searched for an entry that is inserted twice, which takes time.
    pub check_lists: bool,
    /// Whether the source line of each acquisition of a lock is recorded, which takes much time.
    pub locations: bool,
    /// Whether blocks of the pool and buffers of requests of up to a page are in special pages, so that an access past their end, to
    /// freed blocks, or to paged blocks at `DISPATCH_LEVEL` is observed. On Linux only.
    pub special_pool: bool,
    /// The number of bytes of the stack that the driver's routines of a thread may use together. On Windows for x64 it is 24 KB.
    /// The host's frames are larger in a program that is not optimised, and the model's own frames count too.
    pub kernel_stack: usize,
    /// Whether the driver's messages are printed to the standard error stream.
    pub print: bool,
    /// The time after which these are hangs: a system call, if every thread waits and no timer is set; an unload that waits for the
    /// routine of a work item; and a thread that spins, for which it is half as long at `DISPATCH_LEVEL`. The default is long, since
    /// a busy host may not run the other thread for a while.
    pub hang_after: Duration,
    /// The values of the `Parameters` key of the driver's service.
    pub parameters: Vec<(String, u32)>,
    /// The values of the hardware key of each device.
    pub hardware_key: Vec<(String, u32)>,
    /// The values of the software key of each device.
    pub software_key: Vec<(String, u32)>,
    /// The requests of the driver for memory and objects that fail.
    pub faults: Option<Arc<Faults>>,
}

impl Default for Config {
    /// Returns a configuration with eight processors, the host's clock, all inexpensive checks, and an abort at a
    /// violation.
    fn default() -> Self {
        Self {
            processors: 8,
            on_violation: OnViolation::Abort,
            clock: Clock::Host,
            check_lists: true,
            locations: false,
            special_pool: true,
            kernel_stack: 8 * 24 * 1024,
            print: true,
            hang_after: Duration::from_secs(20),
            parameters: Vec::new(),
            hardware_key: Vec::new(),
            software_key: Vec::new(),
            faults: None,
        }
    }
}
