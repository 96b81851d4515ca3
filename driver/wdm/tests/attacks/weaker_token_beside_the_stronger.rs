//! A token that may not wait is used at the same time as the one that it was lent from.

use wdm::{Event, PassiveLevel, irql::{AtMostDispatch, raise_to_dispatch}};

fn run(event: &Event, irql: &mut PassiveLevel) {
    let weaker = irql.no_wait();
    raise_to_dispatch(weaker, |_| event.wait(irql)); //~ E0500
}
