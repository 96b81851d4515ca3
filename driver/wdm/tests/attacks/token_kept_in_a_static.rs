//! A token is kept in a static, after the return of its routine.

use std::sync::Mutex;
use wdm::PassiveLevel;

static KEPT: Mutex<Option<&'static mut PassiveLevel>> = Mutex::new(None); //~ E0277
