//! A lock in a static gets a reference to a local.

use wdm::{PassiveLevel, SpinLock};

static KEPT: SpinLock<Option<&'static u32>> = SpinLock::new_static(None);

fn keep(irql: &mut PassiveLevel) {
    let local = 7;
    KEPT.with(irql, |kept, _| *kept = Some(&local)); //~ E0373
}
