//! Only an entry point makes a token.

use wdm::PassiveLevel;

fn claim() -> PassiveLevel {
    PassiveLevel { _not_send: core::marker::PhantomData } //~ E0451
    //~| PassiveLevel
}
