//! The class on the left is inferred.

use wdm::{lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(_ => existing Mine); //~ E0121
//~^ E0283
