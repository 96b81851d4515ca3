//! A DPC waits for an event.

use core::time::Duration;

use wdm::{Event, irql::DispatchLevel};

fn wait(event: &Event, irql: &mut DispatchLevel) -> bool {
    event.wait_for(Duration::from_millis(1), irql) //~ E0277
}
