//! A driver implements `Default` for a token, and takes it out.

#![forbid(unsafe_code)]

use wdm::PassiveLevel;

impl Default for PassiveLevel { //~ E0117
    fn default() -> Self {
        loop {}
    }
}

fn main() {}
