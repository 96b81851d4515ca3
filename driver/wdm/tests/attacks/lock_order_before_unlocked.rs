//! `Unlocked`, which stands for no lock, is declared to come after a class.

use wdm::{lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Mine => existing Unlocked); //~ E0080
