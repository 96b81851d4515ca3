//! A future keeps the token that it was made with.

use std::pin::Pin;
use wdm::{PassiveLevel, thread};

fn later(irql: &mut PassiveLevel) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move { //~ lifetime
        let _ = thread::run(1, irql, &|_, _| ());
    })
}
