//! The class on the left is a macro, and already comes after the one on the right.

use wdm::{lock_order, lock_order::Unlocked};

struct One;
struct Other;
macro_rules! other {
    () => {
        Other
    };
}
lock_order!(Unlocked => One);
lock_order!(One => Other);
lock_order!(other!() => existing One); //~ E0080
