//! `code`: the instructions of each wrapper, beside those of the function in C.

use std::fmt::Write;

use crate::{
    Report,
    image::{Count, Image},
};

/// The wrappers, what each does, and how many instructions it may have for each of the C function's. The limits hold what was
/// reached.
const WRAPPERS: &[(&str, &str, f64)] = &[
    ("lock_increment", "lock, increment, unlock", 1.0),
    ("nested_locks", "the same with two nested locks", 1.0),
    ("cancel_lock", "the same with the cancel spin lock", 1.0),
    ("interlocked_increment", "`InterlockedIncrement`", 1.0),
    ("list_insert_tail", "`ExInterlockedInsertTailList`", 1.0),
    ("list_remove_head", "`ExInterlockedRemoveHeadList`", 1.0),
    ("stack_push", "`ExInterlockedPushEntryList`", 1.0),
    ("stack_pop", "`ExInterlockedPopEntryList`", 1.0),
    (
        "queue_insert",
        "insert an IRP into a cancel-safe queue",
        1.0,
    ),
    (
        "queue_remove",
        "remove the first IRP of a cancel-safe queue",
        1.36,
    ),
    ("complete", "complete an IRP", 1.34),
    (
        "parse_input",
        "check a request's code and lengths, copy its input",
        4.55,
    ),
];

const PREAMBLE: &str = "# Instructions of each wrapper

`cargo make bench-code` writes this page. Each row is one function of an image that is built as a driver is, on `wdm`, and the
function in C of the same purpose (`tests-usermode/bench/wrappers`). All instructions that can be reached in the function are
counted, but no calls of other functions of the image are followed: these end a request that cannot be queued, or go on after a
race was lost. *Checks* are compares, jumps and calls that stop the system if a list is corrupt, counted apart: the WDK's inline
functions have them, those of mingw-w64 do not. Where Rust needs more instructions, it checks what the C function takes for
granted: that a request is buffered and has a buffer, and that an entry of a queue is an IRP; a queue releases its lock before
it goes on after a lost race; and a completed request releases the remove lock or, for a control device, run-down protection.

| function | C | Rust | ratio | checks in C | checks in Rust |
| --- | ---: | ---: | ---: | ---: | ---: |
";

/// Compares two images.
pub fn compare(rust: &[u8], c: &[u8]) -> Result<Report, String> {
    let (rust, c) = (Image::parse(rust)?, Image::parse(c)?);
    let mut text = PREAMBLE.to_owned();
    let mut exceeded = Vec::new();
    for (name, what, limit) in WRAPPERS {
        let count = |image: &Image| image.count(name).ok_or(format!("an image lacks {name}"));
        let (in_rust, in_c): (Count, Count) = (count(&rust)?, count(&c)?);
        let ratio = ratio(in_rust.instructions, in_c.instructions);
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {ratio:.2} | {} | {} |",
            in_c.instructions, in_rust.instructions, in_c.checks, in_rust.checks
        );
        if ratio > *limit + 0.005 {
            exceeded.push(format!("{name}: {ratio:.2}, not {limit:.2}"));
        }
    }
    Ok(Report { text, exceeded })
}

#[expect(clippy::cast_precision_loss, reason = "the counts are small")]
fn ratio(one: usize, other: usize) -> f64 {
    one as f64 / other as f64
}
