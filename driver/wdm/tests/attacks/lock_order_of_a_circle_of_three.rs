//! Three classes form a cycle.

use wdm::{lock_order, lock_order::Unlocked};

struct One;
struct Two;
struct Three;
lock_order!(Unlocked => One);
lock_order!(One => Two);
lock_order!(Two => Three);
lock_order!(Three => existing One); //~ E0080
