//! The I/O manager and the PnP manager: drivers, devices and their stacks, files, IRPs with their cancellation and
//! completion, remove locks, work items, and the registry keys that a driver opens.
//!
//! It uses every other folder but `explore`.

mod acl;
mod address_map;
mod address_valid;
mod associated;
mod attach_by_name;
mod awaited;
mod bus;
mod cancel;
mod children;
mod completion;
mod completion_ex;
mod configuration;
mod csq;
mod device;
mod device_pointer;
mod device_property;
mod device_secure;
mod device_stack;
mod device_state;
mod driver;
mod driver_extension;
mod driver_irp;
mod error_log;
mod file;
mod forward;
mod hang;
mod inlines;
mod interface;
mod interrupt;
mod io_space;
mod irp;
mod live_device;
mod manager;
mod mdl;
mod named_event;
mod named_file;
mod namespace;
mod object;
mod own_mdl;
mod paging;
mod partial_mdl;
mod pnp;
mod pnp_notification;
mod power;
mod power_request;
mod power_setting;
mod registry;
mod reinitialise;
mod remove_lock;
mod request;
mod requestor;
mod resources;
mod security;
mod shutdown;
mod stack_location;
mod start_io;
mod system_buffer;
mod system_routine;
mod timer;
mod user_buffer;
mod wmi;
mod wmi_library;
mod work_item;

pub use bus::BusAnswer;
pub use driver::{Driver, DriverEntry};
pub use file::{Access, File};
pub use pnp::Device;
pub use power::PowerState;
pub use request::{Cancelling, Completion, Request};
pub use resources::Resource;
pub use security::User;
pub use user_buffer::UserMemory;
pub(crate) use {
    hang::{hang, verify_end},
    inlines::watch,
    manager::Io,
};

use crate::host::Kernel;

impl Kernel {
    fn io(&self) -> &Io {
        self.part()
    }
}
