//! A filter's device becomes a function driver's by a method of the sealed trait, which is found through a bound.

use wdm::{NewDevice, QueueOwner};

fn escape<O: QueueOwner>(owner: &mut O) -> &mut NewDevice {
    owner.device() //~ E0061
}
