//! Interlocked lists and stacks.

use super::{NULL, found};
use crate::scenarios::Scenario;

/// The maximum number of nodes of a call.
const FULL: [u64; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = routines! {
    ExInterlockedInsertHeadList::returns_the_old_head,
        "an insertion at the head returns the node that was first, NULL if the list was empty",
        calls! {
            9, [] => NULL, [9];
            9, [1] => found(1), [9, 1];
            9, [1, 2, 3] => found(1), [9, 1, 2, 3];
            // A node may have any value, and the same as another node.
            0, [u64::MAX, 0] => found(u64::MAX), [0, u64::MAX, 0];
            17, FULL => found(1), [17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        };
    ExInterlockedInsertTailList::returns_the_old_tail,
        "an insertion at the tail returns the node that was last, NULL if the list was empty",
        calls! {
            9, [] => NULL, [9];
            9, [1] => found(1), [1, 9];
            9, [1, 2, 3] => found(3), [1, 2, 3, 9];
            0, [0, u64::MAX] => found(u64::MAX), [0, u64::MAX, 0];
            17, FULL => found(16), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
        };
    ExInterlockedRemoveHeadList::returns_the_head,
        "a removal returns the first node and leaves the others in order, NULL if the list is empty",
        calls! {
            0, [] => NULL;
            0, [7] => found(7);
            0, [3, 1, 2] => found(3), [1, 2];
            // A node whose value is zero is not NULL.
            0, [0, 5] => found(0), [5];
            0, FULL => found(1), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        };
    ExInterlockedPushEntryList::returns_the_old_top,
        "a push returns the node that was on top, NULL if the stack was empty",
        calls! {
            9, [] => NULL, [9];
            9, [1] => found(1), [9, 1];
            9, [1, 2, 3] => found(3), [9, 3, 2, 1];
            0, [u64::MAX, 0] => found(0), [0, 0, u64::MAX];
            17, FULL => found(16), [17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
        };
    ExInterlockedPopEntryList::returns_the_top,
        "a pop returns the node that was pushed last, NULL if the stack is empty",
        calls! {
            0, [] => NULL;
            0, [7] => found(7);
            0, [1, 2, 3] => found(3), [2, 1];
            0, [5, 0] => found(0), [5];
            0, FULL => found(16), [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
        };
};
