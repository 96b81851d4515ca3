//! A token is hidden behind an `impl Trait` type that is `Send`.

use wdm::{PassiveLevel, irql::Waitable};

fn hide(irql: &mut PassiveLevel) -> &mut (impl Waitable + Send) { //~ E0277
    irql
}
