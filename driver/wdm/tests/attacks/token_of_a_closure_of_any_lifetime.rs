//! A closure for tokens of every lifetime is replaced by one for a single lifetime.

use wdm::{PassiveLevel, irql::{DispatchLevel, raise_to_dispatch}};

fn run<'a>(irql: &mut PassiveLevel, f: impl FnOnce(&'a mut DispatchLevel)) {
    raise_to_dispatch(irql, f); //~ E0277
}
