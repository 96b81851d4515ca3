//! A driver implements `Default` for a token, and takes it out.

use wdm::PassiveLevel;

impl Default for PassiveLevel { //~ E0117
    fn default() -> Self {
        loop {}
    }
}
