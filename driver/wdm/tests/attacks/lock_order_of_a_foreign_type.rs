//! A class of another crate gets a place in the order.

use wdm::{lock_order, lock_order::Unlocked};

lock_order!(Unlocked => u32); //~ E0117
//~^ E0117
