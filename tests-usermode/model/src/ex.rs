//! The executive: interlocked lists and numbers, zones, the pool with the driver's global allocator, and kernel handles.
//!
//! It uses `ke`, `host` and `verifier`, and neither `io` nor `ps`.

mod allocator;
pub(crate) mod handle;
mod interlocked;
pub(crate) mod pool;
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
    /// The zones that were initialised, by their addresses.
    zones: Mutex<HashSet<usize>>,
}

impl Kernel {
    fn ex(&self) -> &Ex {
        self.part()
    }
}
