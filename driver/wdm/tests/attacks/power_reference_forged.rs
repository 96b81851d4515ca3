//! A reference is made without a count, or a policy for a device that requests can reach already.

use wdm::{DeviceObject, NewDevice, PowerPolicy, PowerReference};

fn forge(device: DeviceObject) -> PowerReference {
    PowerReference(device) //~ E0423
}

fn clone(reference: &PowerReference) -> PowerReference {
    reference.clone() //~ E0308
}

fn late(device: &DeviceObject) -> PowerPolicy {
    PowerPolicy::new(device) //~ E0308
}

fn shared(device: &NewDevice) -> PowerPolicy {
    PowerPolicy::new(device) //~ E0308
}
