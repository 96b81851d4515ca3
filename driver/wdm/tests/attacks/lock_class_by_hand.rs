//! The driver implements `LockClass` itself, with a rank of its choice.

use wdm::lock_order::LockClass;

struct Mine;
impl LockClass for Mine { //~ E0200
    const RANK: u32 = 0;
}
