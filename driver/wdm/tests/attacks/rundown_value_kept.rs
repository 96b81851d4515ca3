//! A value is used after another thread has run it down.

#![forbid(unsafe_code)]

use wdm::Rundown;

fn keep<'a>(value: &'a Rundown<u32>) -> Option<&'a u32> {
    value.access(|value| value) //~ lifetime
}

fn main() {}
