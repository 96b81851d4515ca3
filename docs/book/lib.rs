//! The book on `wdm`, in `src`. Its code is compiled and run as the tests of this crate.
//!
//! The chapter "Your first driver" is `wdm`'s own guide, and is tested there.

#[doc = include_str!("src/from_c.md")]
pub mod from_c {}

#[doc = include_str!("src/own_repository.md")]
pub mod own_repository {}

#[doc = include_str!("src/model_to_vm.md")]
pub mod model_to_vm {}
