//! The I/O manager (`Io`): drivers, devices, open files, PnP, IRPs, cancellation and IRP queues.
//!
//! It uses `ke`, `ex` and `ps`.

pub(crate) mod cancel_lock;
pub(crate) mod control;
pub(crate) mod create;
pub(crate) mod device;
pub(crate) mod device_object;
pub(crate) mod device_thread;
pub(crate) mod dispatch;
pub(crate) mod driver;
pub(crate) mod extension;
pub(crate) mod file;
pub(crate) mod file_irp;
pub(crate) mod filter;
pub(crate) mod forward;
pub(crate) mod forwarded;
pub(crate) mod holds;
pub(crate) mod interface;
pub(crate) mod io_type;
pub(crate) mod irp;
pub(crate) mod irp_data;
pub(crate) mod irp_view;
pub(crate) mod key_index;
pub(crate) mod lower;
pub(crate) mod lower_irp;
pub(crate) mod name;
pub(crate) mod own_irp;
pub(crate) mod owned_queue;
pub(crate) mod pnp;
pub(crate) mod power;
pub(crate) mod power_policy;
pub(crate) mod queue;
pub(crate) mod queue_callbacks;
pub(crate) mod refusal;
pub(crate) mod remove_lock;
pub(crate) mod reply;
pub(crate) mod security;
pub mod serial;
pub(crate) mod start_io;
pub(crate) mod user_buffer;
pub(crate) mod user_event;
pub(crate) mod work_item;
