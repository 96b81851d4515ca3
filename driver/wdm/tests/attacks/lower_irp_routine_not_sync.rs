//! A request's value, which several threads access, is not `Sync`.

use std::cell::Cell;

use wdm::{LowerIrp, LowerIrpRoutine, irql::CallerLevel};

struct R(Cell<u32>);

impl LowerIrpRoutine for R { //~ E0277
    fn run(_: LowerIrp<Self>, _: &mut CallerLevel) {}
}
