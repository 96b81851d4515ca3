//! A mutex gives several threads access to a value that is not `Send`.

use std::rc::Rc;

use wdm::Mutex;

fn share<T: Sync>() {}

fn attack() {
    share::<Mutex<Rc<u32>>>(); //~ E0277
}
