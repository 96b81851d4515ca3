//! Two classes of one generic type come after each other.

use wdm::{lock_order, lock_order::Unlocked};

struct Class<T>(T);
lock_order!(Unlocked => Class<u8>);
lock_order!(Class<u8> => Class<u16>);
lock_order!(Class<u16> => existing Class<u8>); //~ E0080
