//! A value that may not be sent to another thread is lent to one after the other.

use std::rc::Rc;

use wdm::Mutex;

fn share<T: Sync>() {}

fn attack() {
    share::<Mutex<Rc<u32>>>(); //~ E0277
}
