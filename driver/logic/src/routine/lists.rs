//! Interlocked lists and stacks: checks the order, and that each node has one owner at a time.

use interlock_abi::{Call, CallResult, Routine};
use pinned_init::stack_pin_init;
use wdm::{
    EntryId, Error, InterlockedList, InterlockedLong, InterlockedStack, Node, PassiveLevel, Zone,
    ZoneBox,
};

use super::{nodes, push_remaining, set_found, threads::Run};

/// A node of a call, with its value.
type Item = ZoneBox<Node<u64>>;

/// Makes nodes, and finds their values by the identifiers that the routines return.
struct Nodes {
    zone: Zone<Node<u64>>,
    known: [Option<(EntryId, u64)>; CallResult::VALUES],
}

impl Nodes {
    fn new(irql: &mut PassiveLevel) -> Result<Self, Error> {
        const BLOCKS: u32 = 17;
        const { assert!(BLOCKS as usize == CallResult::VALUES) };
        Ok(Self {
            zone: Zone::new(BLOCKS, &[], irql)?,
            known: [None; CallResult::VALUES],
        })
    }

    fn make(&mut self, value: u64) -> Result<Item, Error> {
        let node = self.zone.allocate(Node::new(value));
        let node = node.ok_or(Error::INSUFFICIENT_RESOURCES)?;
        let slot = self.known.iter_mut().find(|known| known.is_none());
        *slot.ok_or(Error::INSUFFICIENT_RESOURCES)? = Some((EntryId::of(&node), value));
        Ok(node)
    }

    /// Returns the value of the entry that a routine has returned.
    fn value_of(&self, id: EntryId) -> Result<u64, Error> {
        let mut known = self.known.iter().flatten();
        let found = known.find(|(known, _)| *known == id);
        found.map(|(_, value)| *value).ok_or(Error::INTERNAL_ERROR)
    }
}

/// Runs a routine of a list or of a stack once, for a checked call.
// Without inlining, the stack space for the nodes is not part of the other routines' frames.
#[inline(never)]
pub fn run(
    routine: Routine,
    call: &Call,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let mut made = Nodes::new(irql)?;
    stack_pin_init!(let list = InterlockedList::new());
    stack_pin_init!(let stack = InterlockedStack::new());
    let is_stack = matches!(
        routine,
        Routine::ExInterlockedPushEntryList | Routine::ExInterlockedPopEntryList
    );
    let insert = |node| {
        if is_stack {
            stack.push(node)
        } else {
            list.insert_tail(node)
        }
    };
    let remove = || {
        if is_stack {
            stack.pop()
        } else {
            list.remove_head()
        }
    };
    for value in nodes(call) {
        insert(made.make(*value)?);
    }
    let found = match routine {
        Routine::ExInterlockedRemoveHeadList | Routine::ExInterlockedPopEntryList => {
            remove().map(|node| **node)
        }
        _ => {
            let node = made.make(call.argument)?;
            let old = if routine == Routine::ExInterlockedInsertHeadList {
                list.insert_head(node)
            } else {
                insert(node)
            };
            old.map(|id| made.value_of(id)).transpose()?
        }
    };
    set_found(result, found);
    while let Some(node) = remove() {
        push_remaining(result, **node)?;
    }
    Ok(())
}

/// A node that records whether a thread owns it.
type Owned = ZoneBox<Node<InterlockedLong>>;

const FREE: i32 = 0;
const OWNED: i32 = 1;

/// Inserts a node into a shared list or stack and removes one, in every round of every thread. Returns the expected result.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    stack_pin_init!(let list = InterlockedList::<Owned>::new());
    stack_pin_init!(let stack = InterlockedStack::<Owned>::new());
    let (list, stack) = (list.as_ref(), stack.as_ref());
    let is_stack = matches!(
        run.routine,
        Routine::ExInterlockedPushEntryList | Routine::ExInterlockedPopEntryList
    );
    let insert = |node| {
        if is_stack {
            stack.push(node)
        } else if run.routine == Routine::ExInterlockedInsertHeadList {
            list.insert_head(node)
        } else {
            list.insert_tail(node)
        }
    };
    let remove = || {
        if is_stack {
            stack.pop()
        } else {
            list.remove_head()
        }
    };
    // A thread allocates a node, inserts it, and then removes one, so at most one node for each thread is in use.
    let zone = Zone::new(run.threads, &[], irql)?;
    run.each_round(irql, &|_, _: &mut PassiveLevel| {
        match zone.allocate(Node::new(InterlockedLong::new(FREE))) {
            Some(node) => {
                insert(node);
            }
            None => run.check(false),
        }
        match remove() {
            Some(node) => take(run, &node),
            // The list contains the node of this thread, or another thread has left its own after it removed that one.
            None => run.check(false),
        }
    })?;
    while let Some(node) = remove() {
        take(run, &node);
    }
    Ok(run.total())
}

/// Counts a node that was removed, which no other thread may own.
fn take(run: &Run, node: &Node<InterlockedLong>) {
    run.check(node.exchange(OWNED) == FREE);
    run.check(node.exchange(FREE) == OWNED);
    run.add_actual(1);
}
