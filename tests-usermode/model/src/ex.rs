//! The executive: interlocked and sequenced lists, interlocked numbers, fast mutexes, reader/writer spin
//! locks, executive resources, run-down protection, zones, the pool with the driver's global allocator, counted strings, kernel handles,
//! work items, user-mode events, callback objects, the calendar and the version of the system.
//!
//! It uses `ke`, `host` and `verifier`, and neither `io` nor `ps`.

mod allocator;
mod bitmap;
mod block;
mod calendar;
mod callback;
mod event;
mod fast_mutex;
mod features;
mod guarded_mutex;
mod guids;
pub(crate) mod handle;
mod interlocked;
mod lookaside;
mod numbers;
pub(crate) mod object_types;
pub(crate) mod pool;
mod pool_lookaside;
mod random;
mod reader_writer;
mod registrations;
mod resource;
mod rundown;
mod rundown_counts;
mod slist;
mod strings;
mod trace;
mod version;
mod work_item;
mod zone;

pub(crate) use event::EventObject;
pub use event::UserEvent;
pub(crate) use registrations::Registrations;
pub(crate) use strings::terminated;
pub(crate) use version::VERSION;
pub(crate) use work_item::is_queue;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU32},
};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    ex::{handle::Handles, pool::Pool},
    host::Kernel,
};

/// The state of this folder.
pub(crate) struct Ex {
    pool: Arc<Pool>,
    handles: Handles,
    /// The user-mode handles.
    user_handles: Handles,
    /// The user-mode event objects and the thread objects, by their addresses.
    events: Mutex<FxHashMap<usize, Arc<EventObject>>>,
    /// The lock for operations on sequenced lists.
    slists: Mutex<()>,
    /// The lookaside lists that were initialised, by their addresses, and whether each was deleted.
    lookaside_lists: Mutex<FxHashMap<usize, bool>>,
    /// The executive resources that were initialised, by their addresses.
    resources: Mutex<BTreeMap<usize, resource::Resource>>,
    /// The run-down protections that a thread waits for, by their addresses.
    run_downs: Mutex<FxHashSet<usize>>,
    /// The zones that were initialised, by their addresses, with the blocks of each segment and their size.
    zones: Mutex<FxHashMap<usize, Vec<zone::Blocks>>>,
    callbacks: callback::Callbacks,
    /// The providers of events.
    providers: trace::Providers,
    work_items: work_item::WorkItems,
    last_uuid: AtomicU32,
    /// The lock that each interlocked list was last accessed with, by the address of the list.
    locks_of_lists: Mutex<FxHashMap<usize, usize>>,
}

impl Default for Ex {
    fn default() -> Self {
        Self {
            pool: Arc::default(),
            handles: Handles::of_kernel(),
            user_handles: Handles::default(),
            events: Mutex::default(),
            slists: Mutex::default(),
            lookaside_lists: Mutex::default(),
            resources: Mutex::default(),
            run_downs: Mutex::default(),
            zones: Mutex::default(),
            callbacks: callback::Callbacks::default(),
            providers: trace::Providers::default(),
            work_items: work_item::WorkItems::default(),
            last_uuid: AtomicU32::new(0),
            locks_of_lists: Mutex::default(),
        }
    }
}

impl Kernel {
    fn ex(&self) -> &Ex {
        self.part()
    }
}
