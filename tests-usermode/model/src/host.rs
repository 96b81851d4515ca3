//! What NT does not have, and the model stands on: the host's threads as threads of a kernel, who runs next, waiting, time,
//! and the calls of the driver and of the kernel.
//!
//! It uses `verifier`. What it needs from a folder above it, it asks for through [`upcalls`].

pub(crate) mod call;
pub(crate) mod clock;
mod config;
pub(crate) mod fault;
pub(crate) mod footprint;
mod kernel;
pub(crate) mod layout;
pub(crate) mod order;
mod spinning;
pub(crate) mod thread;
mod trace;
pub(crate) mod upcalls;
pub(crate) mod wait;

pub(crate) use call::Call;
pub use config::{Clock, Config, OnViolation};
pub use kernel::Kernel;
pub use trace::Step;
