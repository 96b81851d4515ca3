//! The base of the model, which NT does not have: host threads as threads of a kernel, scheduling, waits, time, and the
//! calls of the driver and of the kernel.
//!
//! It uses `verifier`, and calls the folders above it through [`upcalls`].

mod buffer;
pub(crate) mod call;
pub(crate) mod clock;
mod config;
pub(crate) mod driver_routine;
pub(crate) mod fault;
pub(crate) mod footprint;
mod kernel;
pub(crate) mod layout;
pub(crate) mod order;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod privileged;
pub(crate) mod process;
pub(crate) mod special;
mod spinning;
pub(crate) mod thread;
pub(crate) mod thread_exit;
mod trace;
pub(crate) mod upcalls;
pub(crate) mod wait;

pub(crate) use call::{Call, Caller};
pub use config::{Clock, Config, OnViolation};
pub(crate) use driver_routine::DriverRoutine;
pub use kernel::Kernel;
pub(crate) use kernel::{Part, Parts};
pub use trace::Step;
