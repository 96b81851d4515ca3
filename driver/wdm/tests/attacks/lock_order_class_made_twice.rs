//! A class is declared twice, with two ranks.

use wdm::{lock_order, lock_order::{Alone, Unlocked}};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Alone => Mine); //~ E0119
