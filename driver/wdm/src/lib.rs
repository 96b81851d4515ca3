//! Safe wrappers over the NT kernel's spin locks, cancelable IRPs and interlocked queues, in which the
//! classic driver bugs do not compile.
//!
//! A driver on this crate is a [`Device`] and a line of [`driver_entry!`]. The rest follows from three
//! ideas:
//!
//! * **IRQL is a capability.** The kernel calls a driver at a known IRQL, and the routine gets a token
//!   that says so ([`irql`]). A spin lock borrows the token while it is held, and lends one that waits
//!   and completions do not accept.
//! * **An IRP is owned.** A dispatch routine gets an [`Irp`] and must return [`Handled`], which only
//!   completing or queueing that very IRP makes. So no IRP is forgotten, completed twice, or returned
//!   with a status that does not fit.
//! * **Cancellation is settled at the queue.** [`IrpQueue`] takes IRPs by value and gives them back by
//!   value, no longer cancelable. Whoever wins the exchange of the Cancel routine owns the IRP.
//!
//! Names are NT's own, and every wrapper says which routine it calls and at which IRQL.

#![no_std]

extern crate alloc;

mod cancel_lock;
mod device;
mod dispatch;
mod driver;
mod forward;
mod interface;
mod irp;
pub mod irql;
pub mod log;
mod pnp;
mod queue;
mod registry;
mod remove_lock;
mod spin_lock;
mod status;

pub use cancel_lock::{CancelSpinLock, CancelSpinLockGuard};
pub use device::Device;
pub use interface::Guid;
pub use irp::{FileId, Handled, Irp, IrpView, PendedIrp};
pub use irql::PassiveLevel;
pub use queue::{IrpQueue, QueueCallbacks};
pub use registry::RegistryKey;
pub use spin_lock::{SpinLock, SpinLockAtDpcGuard, SpinLockGuard};
pub use status::NtStatus;

#[doc(hidden)]
pub mod __private {
    //! What [`driver_entry!`](crate::driver_entry) expands to.
    pub use crate::driver::entry;
    pub use nt::{DRIVER_OBJECT, NTSTATUS, UNICODE_STRING};
}
