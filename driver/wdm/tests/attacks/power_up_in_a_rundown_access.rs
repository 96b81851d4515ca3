//! A device is powered up while a value is accessed that its power routine runs down.

use wdm::{PassiveLevel, PowerPolicy, Rundown};

fn power_up(policy: &PowerPolicy, value: &Rundown<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |_, held| {
        let _ = policy.power_up(held); //~ E0277
        policy.retry(held); //~ E0277
    });
}
