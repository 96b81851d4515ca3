//! A token is taken out of its place by `mem::take`.

use wdm::irql::DispatchLevel;

fn take(irql: &mut DispatchLevel) -> DispatchLevel {
    core::mem::take(irql) //~ E0277
}
