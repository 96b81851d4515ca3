//! Interlocked lists and stacks: checks the order, and that each node has one owner at a time.

use interlock_abi::{Call, Returned, Routine, ThreadsRan};
use pinned_init::stack_pin_init;
use wdm::{
    EntryId, Error, InterlockedList, InterlockedLong, InterlockedStack, Node, PassiveLevel, Zone,
    ZoneBox,
};

use super::{found, nodes, push_remaining, threads::Run};

/// A node of a call, with its value.
type Item = ZoneBox<Node<u64>>;

/// Runs a routine of a list once, for a checked call.
pub fn run(routine: Routine, call: &Call, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    match routine {
        Routine::ExInterlockedInsertHeadList => insert(call, irql, InterlockedList::insert_head),
        Routine::ExInterlockedInsertTailList => insert(call, irql, InterlockedList::insert_tail),
        Routine::ExInterlockedRemoveHeadList => remove_head(call, irql),
        Routine::ExInterlockedPushEntryList => push(call, irql),
        Routine::ExInterlockedPopEntryList => pop(call, irql),
        _ => Err(Error::INVALID_DEVICE_REQUEST),
    }
}

/// Makes nodes, and finds their values by the identifiers that the routines return.
struct Nodes {
    zone: Zone<Node<u64>>,
    known: [Option<(EntryId, u64)>; Returned::VALUES],
}

impl Nodes {
    fn new(irql: &mut PassiveLevel) -> Result<Self, Error> {
        const BLOCKS: u32 = 17;
        const { assert!(BLOCKS as usize == Returned::VALUES) };
        Ok(Self {
            zone: Zone::new(BLOCKS, &[], irql)?,
            known: [None; Returned::VALUES],
        })
    }

    fn make(&mut self, value: u64) -> Result<Item, Error> {
        let node = self.zone.allocate(Node::new(value));
        let node = node.ok_or(Error::INSUFFICIENT_RESOURCES)?;
        let slot = self.known.iter_mut().find(|known| known.is_none());
        *slot.ok_or(Error::INSUFFICIENT_RESOURCES)? = Some((EntryId::of(&node), value));
        Ok(node)
    }

    /// Makes the result of a routine that returned this entry, or NULL.
    fn found(&self, id: Option<EntryId>) -> Result<Returned, Error> {
        let Some(id) = id else {
            return Ok(found(None));
        };
        let mut known = self.known.iter().flatten();
        match known.find(|(known, _)| *known == id) {
            Some((_, value)) => Ok(found(Some(*value))),
            None => Err(Error::INTERNAL_ERROR),
        }
    }
}

fn insert(
    call: &Call,
    irql: &mut PassiveLevel,
    routine: impl FnOnce(&InterlockedList<Item>, Item) -> Option<EntryId>,
) -> Result<Returned, Error> {
    let mut made = Nodes::new(irql)?;
    stack_pin_init!(let list = InterlockedList::new());
    for value in nodes(call) {
        list.insert_tail(made.make(*value)?);
    }
    let old = routine(&list, made.make(call.argument)?);
    let mut returned = made.found(old)?;
    drain(&mut returned, || list.remove_head())?;
    Ok(returned)
}

fn remove_head(call: &Call, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    let mut made = Nodes::new(irql)?;
    stack_pin_init!(let list = InterlockedList::new());
    for value in nodes(call) {
        list.insert_tail(made.make(*value)?);
    }
    let mut returned = found(list.remove_head().map(|node| **node));
    drain(&mut returned, || list.remove_head())?;
    Ok(returned)
}

fn push(call: &Call, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    let mut made = Nodes::new(irql)?;
    stack_pin_init!(let stack = InterlockedStack::new());
    for value in nodes(call) {
        stack.push(made.make(*value)?);
    }
    let old = stack.push(made.make(call.argument)?);
    let mut returned = made.found(old)?;
    drain(&mut returned, || stack.pop())?;
    Ok(returned)
}

fn pop(call: &Call, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    let mut made = Nodes::new(irql)?;
    stack_pin_init!(let stack = InterlockedStack::new());
    for value in nodes(call) {
        stack.push(made.make(*value)?);
    }
    let mut returned = found(stack.pop().map(|node| **node));
    drain(&mut returned, || stack.pop())?;
    Ok(returned)
}

/// Adds the remaining items to the result.
fn drain(returned: &mut Returned, mut remove: impl FnMut() -> Option<Item>) -> Result<(), Error> {
    while let Some(node) = remove() {
        push_remaining(returned, **node)?;
    }
    Ok(())
}

/// A node that records whether a thread owns it.
type Owned = ZoneBox<Node<InterlockedLong>>;

const FREE: i32 = 0;
const OWNED: i32 = 1;

/// Inserts a node into a shared list or stack and removes one, in every round of every thread.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    stack_pin_init!(let list = InterlockedList::<Owned>::new());
    stack_pin_init!(let stack = InterlockedStack::<Owned>::new());
    let (list, stack) = (list.as_ref(), stack.as_ref());
    let remove_head = || list.remove_head();
    match run.routine {
        Routine::ExInterlockedInsertHeadList => {
            exchange(run, irql, |node| list.insert_head(node), remove_head)
        }
        Routine::ExInterlockedInsertTailList | Routine::ExInterlockedRemoveHeadList => {
            exchange(run, irql, |node| list.insert_tail(node), remove_head)
        }
        _ => exchange(run, irql, |node| stack.push(node), || stack.pop()),
    }
}

fn exchange(
    run: &Run,
    irql: &mut PassiveLevel,
    insert: impl Fn(Owned) -> Option<EntryId> + Sync,
    remove: impl Fn() -> Option<Owned> + Sync,
) -> Result<ThreadsRan, Error> {
    // At any time each thread owns at most one node, or has left one on the list.
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
            // The list cannot be empty: this thread's node is on it, or another thread took it and left its own.
            None => run.check(false),
        }
    })?;
    while let Some(node) = remove() {
        take(run, &node);
    }
    Ok(run.result(run.total()))
}

/// Counts a node that was removed, which no other thread may own.
fn take(run: &Run, node: &Node<InterlockedLong>) {
    run.check(node.exchange(OWNED) == FREE);
    run.check(node.exchange(FREE) == OWNED);
    run.add_actual(1);
}
