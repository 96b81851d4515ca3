//! The token of a DPC becomes one that may wait.

use wdm::{PassiveLevel, irql::{AtMostDispatch, DispatchLevel}};

fn stronger(irql: &mut DispatchLevel) -> &mut PassiveLevel {
    irql.no_wait() //~ E0308
}
