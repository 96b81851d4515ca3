//! A thread uses the view that was lent to another thread.

use wdm::{IrpView, PassiveLevel, thread};

fn run(view: &IrpView, irql: &mut PassiveLevel) {
    let _ = thread::run(2, irql, &|_, _| assert!(view.code() > 0)); //~ E0277
}
