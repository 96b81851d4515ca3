//! A class comes after itself.

#![forbid(unsafe_code)]

use wdm::{lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Mine => existing Mine); //~ E0080

fn main() {}
