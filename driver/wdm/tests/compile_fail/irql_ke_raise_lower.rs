//! IrqlKeRaiseLower: the IRQL is lowered when the closure returns; its token does not get out.

use wdm::{
    PassiveLevel,
    irql::{DispatchLevel, raise_to_dispatch},
};

fn raise(irql: &mut PassiveLevel) -> &mut DispatchLevel {
    raise_to_dispatch(irql, |irql| irql) //~ lifetime
}

fn main() {}
