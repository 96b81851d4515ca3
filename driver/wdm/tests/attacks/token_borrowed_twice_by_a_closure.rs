//! Two closures that are called in turn capture one token.

use wdm::{PassiveLevel, SpinLock};

fn run(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    one.with(irql, |a, _| other.with(irql, |b, _| *a += *b)); //~ E0500
    //~^ E0501
}
