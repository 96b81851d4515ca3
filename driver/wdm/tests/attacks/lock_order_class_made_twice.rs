//! A class is declared twice, with two ranks.

#![forbid(unsafe_code)]

use wdm::{lock_order, lock_order::{Alone, Unlocked}};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Alone => Mine); //~ E0119

fn main() {}
