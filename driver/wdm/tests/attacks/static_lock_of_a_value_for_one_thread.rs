//! Two threads share a value that only one may have, through a lock that is a static.

use std::rc::Rc;

use wdm::SpinLock;

static LOCK: SpinLock<Option<Rc<u32>>> = SpinLock::new_static(None); //~ E0277
