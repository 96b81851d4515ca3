//! The driver implements `LockAfter` itself, against the lock order.

use wdm::{lock_order, lock_order::{LockAfter, Unlocked}};

struct One;
struct Other;
lock_order!(Unlocked => One);
lock_order!(One => Other);
impl LockAfter<Other> for One {} //~ E0200
