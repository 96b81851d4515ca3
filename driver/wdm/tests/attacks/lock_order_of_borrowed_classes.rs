//! Classes that differ in a lifetime come after each other.

use wdm::{lock_order, lock_order::Unlocked};

struct Class<'a>(&'a ());
lock_order!(Unlocked => Class<'static>);
lock_order!(Class<'static> => Class<'_>); //~ E0119
