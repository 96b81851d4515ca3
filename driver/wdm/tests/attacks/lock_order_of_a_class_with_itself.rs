//! A class comes after itself.

use wdm::{lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Mine => existing Mine); //~ E0080
