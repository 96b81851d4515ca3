//! The value of a mutex is put into a cell outside of the closure.

use core::cell::Cell;

use wdm::{Mutex, PassiveLevel};

fn keep<'a>(mutex: &'a Mutex<u32>, irql: &mut PassiveLevel) {
    let kept: Cell<Option<&'a mut u32>> = Cell::new(None);
    mutex.with(irql, |value, _| kept.set(Some(value))); //~ E0521
}
