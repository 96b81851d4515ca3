//! A device that is in use is declared to be one that is being added, so that a queue can be made for it.

use wdm::{DeviceObject, QueueOwner};

struct Mine(DeviceObject);
impl QueueOwner for Mine {} //~ E0277

fn main() {}
