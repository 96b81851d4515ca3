//! The executive's support (`Ex`): interlocked lists and numbers, zones, pool.
//!
//! It uses `ke`, and neither `io` nor `ps`.

pub(crate) mod interlocked_list;
pub(crate) mod node;
pub(crate) mod number;
pub(crate) mod pool;
pub(crate) mod zone;
