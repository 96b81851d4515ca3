//! `code`: the instructions of each wrapper, compared with those of the function in C.

use std::fmt::Write;

use crate::{
    Report,
    image::{Count, Image},
    ratio,
};

/// A wrapper, and the function in C of the same name.
struct Wrapper {
    name: &'static str,
    what: &'static str,
    /// The instructions for work that the function in C does not do, and the reason. They are not part of the ratio.
    more: &'static [(usize, &'static str)],
    /// How many instructions the function had when those were counted in its disassembly; they are counted again if it changes.
    counted_in: usize,
}

const fn same(name: &'static str, what: &'static str) -> Wrapper {
    Wrapper {
        name,
        what,
        more: &[],
        counted_in: 0,
    }
}

const WRAPPERS: &[Wrapper] = &[
    same("lock_increment", "lock, increment, unlock"),
    same("nested_locks", "the same with two nested locks"),
    same("cancel_lock", "the same with the cancel spin lock"),
    same("interlocked_increment", "`InterlockedIncrement`"),
    Wrapper {
        name: "list_insert_tail",
        what: "`ExInterlockedInsertTailList`",
        more: &[(
            3,
            "the list was not moved while it was pinned, which `pinned-init` 0.0.10 does not prevent. These prepare the call that stops the system",
        )],
        counted_in: 5,
    },
    Wrapper {
        name: "list_remove_head",
        what: "`ExInterlockedRemoveHeadList`",
        more: &[(
            5,
            "the list was not moved while it was pinned, which `pinned-init` 0.0.10 does not prevent. These prepare the call that stops the system",
        )],
        counted_in: 7,
    },
    same("stack_push", "`ExInterlockedPushEntryList`"),
    same("stack_pop", "`ExInterlockedPopEntryList`"),
    Wrapper {
        name: "queue_insert",
        what: "insert an IRP into a cancel-safe queue",
        more: &[
            (
                2,
                "the queue can be one of a filter, which has no list for each file: the kind is tested",
            ),
            (
                21,
                "the closed files of a filter's queue are searched for the file; a function driver's queue never executes these",
            ),
        ],
        counted_in: 104,
    },
    Wrapper {
        name: "queue_remove",
        what: "remove the first IRP of a cancel-safe queue",
        more: &[
            (
                2,
                "an entry of the list can be the mark of a thread that walks the list (`remove_matching`), which releases the \
                 lock after every 64 IRPs",
            ),
            (
                5,
                "after a lost race the lock is released before the next IRP is tried, so that the time for which it is held has \
                 a bound; C continues under the lock. These are the jump to the code that does so",
            ),
        ],
        counted_in: 41,
    },
    Wrapper {
        name: "complete",
        what: "complete an IRP",
        more: &[(
            6,
            "the IRP of a control device holds run-down protection, not the remove lock: the type is tested, and there are two \
             ends of the function",
        )],
        counted_in: 24,
    },
    Wrapper {
        name: "parse_input",
        what: "check a request's code and lengths, copy its input",
        more: &[
            (
                5,
                "the request is a device control; C relies on the dispatch table",
            ),
            (
                13,
                "an internal device control was sent to a function driver; in a filter its parameters can have another meaning. \
                 Input and output are each tested",
            ),
            (
                4,
                "the request has a system buffer, and is no associated IRP, which has a pointer to another IRP in its place",
            ),
            (
                4,
                "the input is aligned, since another driver may have made the request",
            ),
        ],
        counted_in: 50,
    },
];

/// The largest ratio: as many instructions as in C.
const MAX: f64 = 1.0;

const PREAMBLE: &str = "# Instructions of each wrapper

`cargo make bench-code` writes this page. Each row is one function of an image on `wdm`, and the function in C of the same
purpose (`tests-usermode/bench/wrappers`). The image is built with `opt-level = 3`, so that the wrappers are inlined; `interlock.sys` is
built for size, and calls some of them. All reachable instructions of the function are
counted. Calls of other functions of the image are not followed: these complete a request that cannot be queued, or continue after a
lost race. Two kinds of instructions are counted separately, and are not part of the ratio. *Checks* are compares, jumps and calls
that stop the system if a list is corrupt: the WDK's inline functions have them, those of mingw-w64 do not. *More* are instructions for
work that the C function does not do; the list below the table has the reasons. They were counted in the disassembly, and the command
fails if the number of instructions of the function has changed.

| function | C | Rust | ratio | checks in C | checks in Rust | more in Rust |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
";

/// Compares two images.
pub fn compare(rust: &[u8], c: &[u8]) -> Result<Report, String> {
    let (rust, c) = (Image::parse(rust)?, Image::parse(c)?);
    let mut report = Report::new(PREAMBLE);
    for Wrapper {
        name,
        what,
        more,
        counted_in,
    } in WRAPPERS
    {
        let count = |image: &Image| image.count(name).ok_or(format!("an image lacks {name}"));
        let (in_rust, in_c): (Count, Count) = (count(&rust)?, count(&c)?);
        let more: usize = more.iter().map(|(count, _)| count).sum();
        if more != 0 && in_rust.instructions != *counted_in {
            report.exceeded.push(format!(
                "{name}: {} instructions, not the {counted_in} in which {more} more than in C were counted; count them again",
                in_rust.instructions
            ));
        }
        let of_rust = in_rust.instructions.saturating_sub(more);
        let ratio = ratio(of_rust as u64, in_c.instructions as u64);
        let _ = writeln!(
            report.text,
            "| {what} | {} | {of_rust} | {ratio:.2} | {} | {} | {more} |",
            in_c.instructions, in_c.checks, in_rust.checks
        );
        report.limit(name, ratio, MAX);
    }
    report.text.push_str("\nMore in Rust:\n\n");
    for Wrapper { what, more, .. } in WRAPPERS {
        for (count, why) in *more {
            let _ = writeln!(report.text, "* {what}, {count}: {why}.");
        }
    }
    Ok(report)
}
