//! A mutex's value is used after the mutex was released.

use wdm::{Mutex, PassiveLevel};

fn run<'a>(mutex: &'a Mutex<u32>, irql: &mut PassiveLevel) -> &'a mut u32 {
    mutex.with(irql, |value, _| value) //~ lifetime
}
