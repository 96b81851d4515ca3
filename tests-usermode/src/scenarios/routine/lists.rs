//! Interlocked lists and stacks.

use interlock_abi::Routine;

use super::{NULL, call, check, found, leaving};
use crate::scenarios::{Context, Scenario, Verdict, scenario};

/// As many nodes as a call can have.
const FULL: [u64; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "routine::ExInterlockedInsertHeadList::returns_the_old_head",
        "an insertion at the head returns the node that was first, NULL if the list was empty",
        &[Routine::ExInterlockedInsertHeadList],
        insert_head_list,
    ),
    scenario(
        "routine::ExInterlockedInsertTailList::returns_the_old_tail",
        "an insertion at the tail returns the node that was last, NULL if the list was empty",
        &[Routine::ExInterlockedInsertTailList],
        insert_tail_list,
    ),
    scenario(
        "routine::ExInterlockedRemoveHeadList::returns_the_head",
        "a removal returns the first node and leaves the others in order, NULL if the list is empty",
        &[Routine::ExInterlockedRemoveHeadList],
        remove_head_list,
    ),
    scenario(
        "routine::ExInterlockedPushEntryList::returns_the_old_top",
        "a push returns the node that was on top, NULL if the stack was empty",
        &[Routine::ExInterlockedPushEntryList],
        push_entry_list,
    ),
    scenario(
        "routine::ExInterlockedPopEntryList::returns_the_top",
        "a pop returns the node that was pushed last, NULL if the stack is empty",
        &[Routine::ExInterlockedPopEntryList],
        pop_entry_list,
    ),
];

fn insert_head_list(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedInsertHeadList,
        &[
            (call(9, []), leaving(NULL, [9])),
            (call(9, [1]), leaving(found(1), [9, 1])),
            (call(9, [1, 2, 3]), leaving(found(1), [9, 1, 2, 3])),
            // A node may be any number, and the same as another's.
            (
                call(0, [u64::MAX, 0]),
                leaving(found(u64::MAX), [0, u64::MAX, 0]),
            ),
            (
                call(17, FULL),
                leaving(
                    found(1),
                    [17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
                ),
            ),
        ],
    )
}

fn insert_tail_list(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedInsertTailList,
        &[
            (call(9, []), leaving(NULL, [9])),
            (call(9, [1]), leaving(found(1), [1, 9])),
            (call(9, [1, 2, 3]), leaving(found(3), [1, 2, 3, 9])),
            (
                call(0, [0, u64::MAX]),
                leaving(found(u64::MAX), [0, u64::MAX, 0]),
            ),
            (
                call(17, FULL),
                leaving(
                    found(16),
                    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
                ),
            ),
        ],
    )
}

fn remove_head_list(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedRemoveHeadList,
        &[
            (call(0, []), NULL),
            (call(0, [7]), found(7)),
            (call(0, [3, 1, 2]), leaving(found(3), [1, 2])),
            // A node that is zero is not NULL.
            (call(0, [0, 5]), leaving(found(0), [5])),
            (
                call(0, FULL),
                leaving(
                    found(1),
                    [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
                ),
            ),
        ],
    )
}

fn push_entry_list(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedPushEntryList,
        &[
            (call(9, []), leaving(NULL, [9])),
            (call(9, [1]), leaving(found(1), [9, 1])),
            (call(9, [1, 2, 3]), leaving(found(3), [9, 3, 2, 1])),
            (call(0, [u64::MAX, 0]), leaving(found(0), [0, 0, u64::MAX])),
            (
                call(17, FULL),
                leaving(
                    found(16),
                    [17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1],
                ),
            ),
        ],
    )
}

fn pop_entry_list(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedPopEntryList,
        &[
            (call(0, []), NULL),
            (call(0, [7]), found(7)),
            (call(0, [1, 2, 3]), leaving(found(3), [2, 1])),
            (call(0, [5, 0]), leaving(found(0), [5])),
            (
                call(0, FULL),
                leaving(
                    found(16),
                    [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1],
                ),
            ),
        ],
    )
}
