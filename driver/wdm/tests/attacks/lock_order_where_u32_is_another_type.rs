//! The ranks of `lock_order!` have a type of the driver's own, which has the name of a number.

use wdm::{lock_order, lock_order::Unlocked};

#[allow(non_camel_case_types)]
type u32 = i64;

struct One;
lock_order!(Unlocked => One); //~ E0326
                              //~^ E0308
                              //~^^ E0308
