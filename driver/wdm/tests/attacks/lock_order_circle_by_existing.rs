//! A cycle is closed with `existing`.

use wdm::{lock_order, lock_order::Unlocked};

struct One;
struct Other;
lock_order!(Unlocked => One);
lock_order!(One => Other);
lock_order!(Other => existing One); //~ E0080
