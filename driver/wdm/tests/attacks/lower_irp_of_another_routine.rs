//! A request with one routine is coerced to a request with another.

use wdm::{LowerIrp, LowerIrpRoutine, irql::CallerLevel};

struct R<F>(F);
impl<F: Send + Sync + 'static> LowerIrpRoutine for R<F> {
    fn run(_: LowerIrp<Self>, _: &mut CallerLevel) {}
}

fn coerce(it: LowerIrp<R<for<'x> fn(&'x u8)>>) -> LowerIrp<R<fn(&'static u8)>> {
    it //~ E0308
}
