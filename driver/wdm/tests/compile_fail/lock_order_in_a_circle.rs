//! Classes of locks cannot come after each other.

use wdm::lock_order;

struct Device;
struct Channel;
lock_order!(Device => Channel); //~ E0119
lock_order!(Channel => Device); //~ E0119

fn main() {}
