//! A violation names the driver's functions `Type::function`, in the symbol mangling that this test is compiled with.

#[macro_use]
mod call;
mod body;

use std::hint::black_box;

use nt::KSPIN_LOCK;

/// The names of the driver's functions that a violation reports, the innermost first.
fn functions(body: fn()) -> Vec<String> {
    let violation = body::found(body);
    let callers = violation.callers.iter();
    callers
        .map(|caller| caller.split(' ').next().unwrap_or_default().to_owned())
        .collect()
}

/// Releases a lock that is not held.
fn break_a_rule() {
    let mut lock: KSPIN_LOCK = 0;
    nt!(KeReleaseSpinLock(&raw mut lock, 0));
    // Otherwise the call above could be a tail call, which would remove this function's frame.
    black_box(());
}

trait Breaks {
    fn break_it(&self);

    fn break_it_by_default(&self) {
        break_a_rule();
        black_box(());
    }
}

struct Plain;

struct Generic<T>(T);

impl<T> Generic<T> {
    fn with<R>(&self, body: impl Fn(&T) -> R) -> R {
        let result = body(&self.0);
        black_box(());
        result
    }
}

impl Breaks for Plain {
    fn break_it(&self) {
        break_a_rule();
        black_box(());
    }
}

impl<T: Breaks> Breaks for Generic<T> {
    fn break_it(&self) {
        self.with(|inner| {
            inner.break_it();
            black_box(());
        });
        black_box(());
    }
}

#[test]
fn methods_are_named_by_their_types() {
    let named = functions(|| {
        Generic(Plain).break_it();
        black_box(());
    });
    assert_eq!(
        named,
        [
            "callers::break_a_rule",
            "Plain::break_it",
            "Generic::break_it::{closure}",
            "Generic::with"
        ]
    );
}

#[test]
fn a_method_that_a_trait_has_itself_is_named_by_the_type_or_by_the_trait() {
    let named = functions(|| {
        Plain.break_it_by_default();
        black_box(());
    });
    let expected = ["Plain::break_it_by_default", "Breaks::break_it_by_default"];
    assert!(expected.contains(&named[1].as_str()), "{named:?}");
}
