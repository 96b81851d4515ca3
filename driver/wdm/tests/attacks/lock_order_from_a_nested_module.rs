//! A class is placed a second time from a nested module.

use wdm::{lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);

mod nested {
    use super::{Mine, Unlocked};

    wdm::lock_order!(Unlocked => Mine); //~ E0119
    //~^ E0119
}
