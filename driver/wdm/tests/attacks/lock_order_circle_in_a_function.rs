//! A cycle is closed in a function that is never called.

use wdm::{lock_order, lock_order::Unlocked};

struct One;
struct Other;
lock_order!(Unlocked => One);
lock_order!(One => Other);
fn _never_called<T>(_: T) {
    lock_order!(Other => existing One); //~ E0080
}
