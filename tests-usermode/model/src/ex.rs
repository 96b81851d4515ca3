//! The executive: interlocked and sequenced lists, interlocked numbers, fast mutexes, reader/writer spin
//! locks, run-down protection, zones, the pool with the driver's global allocator, counted strings, kernel handles, and
//! events of user mode.
//!
//! It uses `ke`, `host` and `verifier`, and neither `io` nor `ps`.

mod allocator;
mod event;
mod fast_mutex;
pub(crate) mod handle;
mod interlocked;
mod lookaside;
pub(crate) mod pool;
mod reader_writer;
mod rundown;
mod slist;
mod strings;
mod zone;

pub use event::UserEvent;

use std::sync::{Arc, Mutex};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    ex::{event::EventObject, handle::Handles, pool::Pool},
    host::Kernel,
};

/// The state of this folder.
#[derive(Default)]
pub(crate) struct Ex {
    pool: Arc<Pool>,
    handles: Handles,
    /// The handles of user mode.
    user_handles: Handles,
    /// The event objects of user mode, by their addresses.
    events: Mutex<FxHashMap<usize, Arc<EventObject>>>,
    /// Held while a sequenced list is worked on.
    slists: Mutex<()>,
    /// The lookaside lists that were initialised and not deleted, by their addresses.
    lookaside_lists: Mutex<FxHashSet<usize>>,
    /// The zones that were initialised, by their addresses.
    zones: Mutex<FxHashSet<usize>>,
}

impl Kernel {
    fn ex(&self) -> &Ex {
        self.part()
    }
}
