//! A request is made later, when the removal of the device would not know of it.

use wdm::{DeviceObject, Error, LowerIrp, LowerIrpRoutine, PassiveLevel, irql::CallerLevel};

struct R;
impl LowerIrpRoutine for R {
    fn run(_: LowerIrp<Self>, _: &mut CallerLevel) {}
}

fn make(device: &mut DeviceObject, irql: &mut PassiveLevel) -> Result<LowerIrp<R>, Error> {
    LowerIrp::new(Ok::<_, Error>(R), 4, device, irql) //~ E0277
    //~| `DeviceObject` is not a device that is being added
}
