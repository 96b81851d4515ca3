//! Two threads share a value that only one may have, through a lock that is a static.

#![forbid(unsafe_code)]

use std::rc::Rc;

use wdm::SpinLock;

static LOCK: SpinLock<Option<Rc<u32>>> = SpinLock::new_static(None); //~ E0277

fn main() {
    let _ = &LOCK;
}
