//! A thread looks at an IRP by a view that another thread was lent.

#![forbid(unsafe_code)]

use wdm::{IrpView, PassiveLevel, thread};

fn run(view: &IrpView, irql: &mut PassiveLevel) {
    let _ = thread::run(2, irql, &|_, _| assert!(view.code() > 0)); //~ E0277
}

fn main() {}
