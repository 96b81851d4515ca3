//! Executive support (`Ex`): interlocked lists and variables, zones, pool. It uses `ke`, but not `io` or `ps`.

pub(crate) mod interlocked_list;
pub(crate) mod interlocked_owner;
pub(crate) mod lookaside;
pub(crate) mod mutex;
pub(crate) mod node;
pub(crate) mod number;
pub(crate) mod pool;
pub(crate) mod rundown;
pub(crate) mod rw_spin_lock;
pub(crate) mod slist;
pub(crate) mod zone;
