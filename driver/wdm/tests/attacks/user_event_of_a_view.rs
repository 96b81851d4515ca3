//! A callback, which can run in any process, looks up a handle of the requestor.

use wdm::{Error, IrpView, PassiveLevel, UserEvent};

fn look_up(irp: &IrpView, irql: &mut PassiveLevel) -> Result<UserEvent, Error> {
    irp.user_event(4, irql) //~ E0599
}
