//! `Self` as the class on the left would be another type in the `impl` than in the comparison.

use wdm::{lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Self => existing Mine); //~ E0411
