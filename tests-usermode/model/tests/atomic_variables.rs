//! An atomic variable that a driver tests and then sets. Another thread can run between the two.

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, sync::atomic::Ordering::SeqCst};

use call::{join_thread, start_thread};
use common::{delete, passes, scenario};
use nt::{DEVICE_OBJECT, atomic::AtomicBool};
use ntmodel::{
    Rule,
    explore::{Search, explore},
};

/// A block that two threads free. With `TESTS` a thread tests whether the other one has freed it, and notes then that it does.
struct Freed<const TESTS: bool> {
    is_freed: AtomicBool,
    block: *mut c_void,
}

impl<const TESTS: bool> Freed<TESTS> {
    unsafe extern "C" fn free(context: *mut c_void) {
        // SAFETY: the context is a value that lives until the thread has ended.
        let this = unsafe { &*context.cast::<Self>() };
        let is_freed = if TESTS {
            let is_freed = this.is_freed.load(SeqCst);
            this.is_freed.store(true, SeqCst);
            is_freed
        } else {
            this.is_freed.swap(true, SeqCst)
        };
        if !is_freed {
            nt!(ExFreePool(this.block));
        }
    }
}

fn freed<const TESTS: bool>(device: *mut DEVICE_OBJECT) {
    let freed = Box::new(Freed::<TESTS> {
        is_freed: AtomicBool::new(false),
        block: nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, 1)),
    });
    let thread = start_thread(Freed::<TESTS>::free, &raw const *freed);
    // SAFETY: the context is the value.
    unsafe { Freed::<TESTS>::free((&raw const *freed).cast_mut().cast()) };
    join_thread(thread);
    drop(freed);
    delete(device);
}

#[test]
fn an_atomic_variable_is_tested_and_then_set() {
    let guarded = Search::guarded(10_000);
    for search in [Search::every(10_000), guarded] {
        let found = explore(search, scenario(freed::<true>)).expect_err("a rule is broken");
        assert_eq!(found.violation.rule, Rule::Pool, "\n{found}");
    }
    passes(freed::<false>);
    let explored = explore(guarded, scenario(freed::<false>));
    let explored = explored.unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}
