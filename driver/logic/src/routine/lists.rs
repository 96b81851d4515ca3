//! Interlocked lists and stacks: order, and that each node has one owner at a time.

use interlock_abi::{Call, Returned, Routine, ThreadsRan};
use pinned_init::stack_pin_init;
use wdm::{
    EntryId, Error, InterlockedList, InterlockedLong, InterlockedStack, Node, PassiveLevel, Zone,
    ZoneBox,
};

use super::{found, leave, nodes, threads::Run};

/// A node of a call, with its value.
type Item = ZoneBox<Node<u64>>;

/// Runs a list's routine once, for a call that has been checked.
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

/// Makes nodes, and knows them again by what the routines return of them.
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

    /// The answer of a routine that returned this node, or NULL.
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

/// Leaves what still comes out.
fn drain(returned: &mut Returned, mut remove: impl FnMut() -> Option<Item>) -> Result<(), Error> {
    while let Some(node) = remove() {
        leave(returned, **node)?;
    }
    Ok(())
}

/// A node that knows whether a thread has it.
type Owned = ZoneBox<Node<InterlockedLong>>;

const NOBODY: i32 = 0;
const SOMEBODY: i32 = 1;

/// Inserts a node into one list or stack and removes one, in every round of every thread.
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
    // A thread has one node, which it has made or removed, or has left one for another to remove.
    let zone = Zone::new(run.threads, &[], irql)?;
    run.each_round(irql, &|_, _: &mut PassiveLevel| {
        match zone.allocate(Node::new(InterlockedLong::new(NOBODY))) {
            Some(node) => {
                insert(node);
            }
            None => run.must(false),
        }
        match remove() {
            Some(node) => take(run, &node),
            // This thread's own node, at the least, was there or was removed in exchange for another.
            None => run.must(false),
        }
    })?;
    while let Some(node) = remove() {
        take(run, &node);
    }
    Ok(run.ran(run.total()))
}

/// Counts a node that came out, which nobody else may have.
fn take(run: &Run, node: &Node<InterlockedLong>) {
    run.must(node.exchange(SOMEBODY) == NOBODY);
    run.must(node.exchange(NOBODY) == SOMEBODY);
    run.came(1);
}
