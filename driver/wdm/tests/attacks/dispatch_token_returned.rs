//! The token of `raise_to_dispatch` is returned from its closure.

use wdm::{PassiveLevel, irql::{DispatchLevel, raise_to_dispatch}};

fn keep(irql: &mut PassiveLevel) -> &mut DispatchLevel {
    raise_to_dispatch(irql, |irql| irql) //~ lifetime
}
