//! A token is kept in a variable of the thread.

use std::cell::RefCell;

use wdm::PassiveLevel;

thread_local! {
    static KEPT: RefCell<Option<&'static mut PassiveLevel>> = const { RefCell::new(None) };
}

fn keep(irql: &mut PassiveLevel) {
    KEPT.set(Some(irql)); //~ E0521
}
