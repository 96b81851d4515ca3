//! The executive: interlocked and sequenced lists, interlocked numbers, fast mutexes, reader/writer spin
//! locks, run-down protection, zones, the pool with the driver's global allocator, and kernel handles.
//!
//! It uses `ke`, `host` and `verifier`, and neither `io` nor `ps`.

mod allocator;
mod fast_mutex;
pub(crate) mod handle;
mod interlocked;
pub(crate) mod pool;
mod reader_writer;
mod rundown;
mod slist;
mod zone;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use crate::{
    ex::{handle::Handles, pool::Pool},
    host::Kernel,
};

/// The state of this folder.
#[derive(Default)]
pub(crate) struct Ex {
    pool: Arc<Pool>,
    handles: Handles,
    /// Held while a sequenced list is worked on.
    slists: Mutex<()>,
    /// The addresses of the initialised zones.
    zones: Mutex<HashSet<usize>>,
}

impl Kernel {
    fn ex(&self) -> &Ex {
        self.part()
    }
}
