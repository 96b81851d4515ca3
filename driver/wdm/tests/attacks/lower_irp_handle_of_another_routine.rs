//! The handle of a request with one routine is coerced to that of a request with another.

use wdm::{LowerIrp, LowerIrpHandle, LowerIrpRoutine, irql::CallerLevel};

struct R<F>(F);
impl<F: Send + Sync + 'static> LowerIrpRoutine for R<F> {
    fn run(_: LowerIrp<Self>, _: &mut CallerLevel) {}
}

fn coerce(it: LowerIrpHandle<R<for<'x> fn(&'x u8)>>) -> LowerIrpHandle<R<fn(&'static u8)>> {
    it //~ E0308
}
