//! IrqlKeRaiseLower: the IRQL is lowered when the closure returns; the closure's token does not escape.

use wdm::{
    PassiveLevel,
    irql::{DispatchLevel, raise_to_dispatch},
};

fn raise(irql: &mut PassiveLevel) -> &mut DispatchLevel {
    raise_to_dispatch(irql, |irql| irql) //~ lifetime
}
