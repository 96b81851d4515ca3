//! SpinLock: two classes of locks cannot come after each other.

use wdm::lock_order;

struct Device;
struct Channel;
lock_order!(Device => Channel); //~ E0391
lock_order!(Channel => Device);
