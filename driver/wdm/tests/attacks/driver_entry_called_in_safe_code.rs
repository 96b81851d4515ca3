//! The entry point is called with a driver object of one's own.

#![forbid(unsafe_code)]

fn call<D: wdm::Device>() -> i32 {
    wdm::entry::<D>(core::ptr::null_mut(), core::ptr::null_mut()) //~ E0133
}

fn main() {}
