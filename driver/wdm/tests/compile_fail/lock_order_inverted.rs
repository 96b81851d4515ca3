//! SpinLock: an inversion of the lock order does not compile.

use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};

struct Device;
struct Channel;
lock_order!(Unlocked => Device);
lock_order!(Unlocked, Device => Channel);

fn close(device: &SpinLock<u32, Device>, channel: &SpinLock<u32, Channel>, irql: &mut PassiveLevel) {
    channel.with(irql, |_, held| *device.lock_at_dpc(held) -= 1); //~ E0271
}
