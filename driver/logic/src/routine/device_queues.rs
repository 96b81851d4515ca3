//! Device queues: order, and that one request is served at a time.

use core::{
    hint::spin_loop,
    iter::successors,
    pin::Pin,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};

use interlock_abi::{Call, Returned, Routine, ThreadsRan};
use pinned_init::stack_pin_init;
use wdm::{
    Busy, DeviceQueue, DeviceQueueNode, Insert, NodeInUse, NtStatus, PassiveLevel, Remove,
    irql::{DispatchLevel, raise_to_dispatch},
};

use super::{found, leave, narrow, nodes, returned, threads::Run};

/// What waits in the queues.
struct Request {
    /// The node of the call, or the thread that submits the request; its key, where there are keys.
    number: u64,
    /// Whether it has been submitted and not been served.
    waits: AtomicBool,
}

type Queue<'n> = DeviceQueue<'n, Request>;
type Node = DeviceQueueNode<Request>;

/// A list of nodes, each pinned in a stack frame of its own: what a slice holds cannot be pinned one by one.
#[derive(Clone, Copy)]
struct Nodes<'n> {
    first: Pin<&'n Node>,
    rest: Option<&'n Nodes<'n>>,
}

impl<'n> Nodes<'n> {
    fn iter(list: Option<&'n Self>) -> impl Iterator<Item = Pin<&'n Node>> {
        successors(list, |nodes| nodes.rest).map(|nodes| nodes.first)
    }
}

/// Calls a closure with a list of nodes for the numbers, of which the last comes first, before `rest`.
fn with_nodes<R>(
    reversed: &mut impl Iterator<Item = u64>,
    rest: Option<&Nodes<'_>>,
    f: impl FnOnce(Option<&Nodes<'_>>) -> R,
) -> R {
    let Some(number) = reversed.next() else {
        return f(rest);
    };
    stack_pin_init!(let node = DeviceQueueNode::new(request(number)));
    let first = node.as_ref();
    with_nodes(reversed, Some(&Nodes { first, rest }), f)
}

fn request(number: u64) -> Request {
    Request {
        number,
        waits: AtomicBool::new(false),
    }
}

/// Runs a device queue's routine once, for a call that has been checked.
pub fn run(routine: Routine, call: &Call, irql: &mut PassiveLevel) -> Result<Returned, NtStatus> {
    let mut reversed = nodes(call).iter().rev().copied();
    with_nodes(&mut reversed, None, |list| {
        raise_to_dispatch(irql, |irql| match routine {
            Routine::KeInitializeDeviceQueue => initialize(irql),
            Routine::KeInsertDeviceQueue | Routine::KeInsertByKeyDeviceQueue => {
                insert_all(routine, list, irql)
            }
            Routine::KeRemoveByKeyDeviceQueueIfBusy if call.reserved == 1 => {
                remove_from_idle(narrow(call.argument)?, irql)
            }
            Routine::KeRemoveDeviceQueue
            | Routine::KeRemoveByKeyDeviceQueue
            | Routine::KeRemoveByKeyDeviceQueueIfBusy => remove_one(routine, call, list, irql),
            Routine::KeRemoveEntryDeviceQueue => remove_entry(call.argument, list, irql),
            _ => Err(NtStatus::INVALID_DEVICE_REQUEST),
        })
    })
}

fn initialize(irql: &mut DispatchLevel) -> Result<Returned, NtStatus> {
    stack_pin_init!(let node = DeviceQueueNode::new(request(0)));
    stack_pin_init!(let queue = Queue::new());
    let inserted = queue.insert(node.as_ref(), irql).map_err(in_use)?;
    Ok(returned(matches!(inserted, Insert::Queued).into()))
}

fn insert_all(
    routine: Routine,
    list: Option<&Nodes<'_>>,
    irql: &mut DispatchLevel,
) -> Result<Returned, NtStatus> {
    stack_pin_init!(let queue = Queue::new());
    let mut returned = returned(0);
    let mut started = None;
    for (index, node) in Nodes::iter(list).enumerate() {
        match insert(routine, &queue, node, irql)? {
            Insert::Queued => returned.value += 1,
            Insert::StartNow(busy) => {
                returned.found = (index == 0).into();
                started = Some(busy);
            }
        }
    }
    if let Some(busy) = started {
        drain(&queue, busy, &mut returned, irql)?;
    }
    Ok(returned)
}

fn remove_from_idle(key: u32, irql: &mut DispatchLevel) -> Result<Returned, NtStatus> {
    stack_pin_init!(let queue = Queue::new());
    match queue.remove_by_key_if_busy(key, irql) {
        Remove::Next(..) => Err(NtStatus::INTERNAL_ERROR),
        Remove::NotBusy => Ok(not_busy()),
    }
}

fn remove_one(
    routine: Routine,
    call: &Call,
    list: Option<&Nodes<'_>>,
    irql: &mut DispatchLevel,
) -> Result<Returned, NtStatus> {
    stack_pin_init!(let served = DeviceQueueNode::new(request(0)));
    stack_pin_init!(let queue = Queue::new());
    let busy = queue_behind(routine, &queue, served.as_ref(), list, irql)?;
    match remove(routine, &queue, busy, narrow(call.argument)?, irql) {
        Remove::Next(node, busy) => {
            let mut returned = found(Some(node.number));
            drain(&queue, busy, &mut returned, irql)?;
            Ok(returned)
        }
        Remove::NotBusy => Ok(not_busy()),
    }
}

fn remove_entry(
    index: u64,
    list: Option<&Nodes<'_>>,
    irql: &mut DispatchLevel,
) -> Result<Returned, NtStatus> {
    stack_pin_init!(let served = DeviceQueueNode::new(request(0)));
    stack_pin_init!(let queue = Queue::new());
    let routine = Routine::KeRemoveEntryDeviceQueue;
    let busy = queue_behind(routine, &queue, served.as_ref(), list, irql)?;
    let index = usize::try_from(index).map_err(|_| NtStatus::INVALID_PARAMETER)?;
    let node = Nodes::iter(list).nth(index);
    let node = node.ok_or(NtStatus::INVALID_PARAMETER)?;
    let first_time = queue.remove_entry(node, irql);
    let second_time = queue.remove_entry(node, irql);
    let mut returned = Returned {
        found: first_time.into(),
        ..returned(second_time.into())
    };
    drain(&queue, busy, &mut returned, irql)?;
    Ok(returned)
}

/// Makes a queue busy with a request, and queues the others.
fn queue_behind<'n>(
    routine: Routine,
    queue: &Queue<'n>,
    served: Pin<&'n Node>,
    list: Option<&'n Nodes<'n>>,
    irql: &mut DispatchLevel,
) -> Result<Busy, NtStatus> {
    let Insert::StartNow(busy) = insert(routine, queue, served, irql)? else {
        return Err(NtStatus::INTERNAL_ERROR);
    };
    for node in Nodes::iter(list) {
        let Insert::Queued = insert(routine, queue, node, irql)? else {
            return Err(NtStatus::INTERNAL_ERROR);
        };
    }
    Ok(busy)
}

/// Leaves what still comes out.
fn drain(
    queue: &Queue<'_>,
    mut busy: Busy,
    returned: &mut Returned,
    irql: &mut DispatchLevel,
) -> Result<(), NtStatus> {
    while let Remove::Next(node, again) = queue.remove(busy, irql) {
        leave(returned, node.number)?;
        busy = again;
    }
    Ok(())
}

fn not_busy() -> Returned {
    Returned {
        status: NtStatus::DEVICE_NOT_READY.to_raw().cast_unsigned(),
        ..found(None)
    }
}

/// Inserts a node as a routine asks for it: by its key, if the routine is about keys.
fn insert<'n>(
    routine: Routine,
    queue: &Queue<'n>,
    node: Pin<&'n Node>,
    irql: &mut DispatchLevel,
) -> Result<Insert, NtStatus> {
    let inserted = match routine {
        Routine::KeInsertByKeyDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueueIfBusy => {
            queue.insert_by_key(node, narrow(node.number)?, irql)
        }
        _ => queue.insert(node, irql),
    };
    inserted.map_err(in_use)
}

/// Removes a node by the routine, or if it is one that does not remove the next, from the head.
fn remove<'n>(
    routine: Routine,
    queue: &Queue<'n>,
    busy: Busy,
    key: u32,
    irql: &mut DispatchLevel,
) -> Remove<Pin<&'n Node>> {
    match routine {
        Routine::KeRemoveByKeyDeviceQueue => queue.remove_by_key(busy, key, irql),
        Routine::KeRemoveByKeyDeviceQueueIfBusy => queue.remove_by_key_if_busy(key, irql),
        _ => queue.remove(busy, irql),
    }
}

/// Each node is inserted where it is known to be on no queue.
fn in_use(NodeInUse: NodeInUse) -> NtStatus {
    NtStatus::INTERNAL_ERROR
}

/// Submits a request to one device, in every round of every thread.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, NtStatus> {
    let mut reversed = (0..run.threads).rev().map(u64::from);
    with_nodes(&mut reversed, None, |list| {
        stack_pin_init!(let queue = Queue::new());
        let device = Device {
            run,
            queue: &queue,
            serves: AtomicBool::new(false),
        };
        run.each_thread(irql, &|thread, irql: &mut PassiveLevel| {
            let mut nodes = Nodes::iter(list);
            let Some(node) = nodes.find(|node| node.number == u64::from(thread)) else {
                return run.must(false);
            };
            for _ in 0..run.rounds {
                device.submit(node, irql);
                if !is_served(node) {
                    return run.must(false);
                }
            }
        })?;
        Ok(run.ran(run.total()))
    })
}

/// A device that serves one request at a time.
struct Device<'d, 'n> {
    run: &'d Run,
    queue: &'d Queue<'n>,
    serves: AtomicBool,
}

impl<'n> Device<'_, 'n> {
    /// Inserts a request, and serves until there is none if it was not queued.
    fn submit(&self, node: Pin<&'n Node>, irql: &mut PassiveLevel) {
        let routine = self.run.routine;
        node.waits.store(true, Release);
        match raise_to_dispatch(irql, |irql| insert(routine, self.queue, node, irql)) {
            Ok(Insert::Queued) => {}
            Ok(Insert::StartNow(busy)) => self.start(node, busy, irql),
            Err(_) => self.run.must(false),
        }
        if routine == Routine::KeRemoveEntryDeviceQueue && self.queue.remove_entry(node, irql) {
            self.done(node);
        }
    }

    /// Serves a request, and the next ones.
    fn start(&self, mut node: Pin<&'n Node>, mut busy: Busy, irql: &mut PassiveLevel) {
        loop {
            self.serve(node);
            // The thread leaves `DISPATCH_LEVEL` each time, or others that submit could keep it there.
            let next = raise_to_dispatch(irql, |irql| {
                let key = narrow(node.number).unwrap_or(0);
                remove(self.run.routine, self.queue, busy, key, irql)
            });
            match next {
                Remove::Next(next, again) => (node, busy) = (next, again),
                Remove::NotBusy => return,
            }
        }
    }

    /// Serves a request, while no other may be served.
    fn serve(&self, node: Pin<&'n Node>) {
        self.run.must(!self.serves.swap(true, Acquire));
        self.done(node);
        self.run.must(self.serves.swap(false, Release));
    }

    /// Counts a request, which must have been waiting. Its thread may submit it again at once.
    fn done(&self, node: Pin<&'n Node>) {
        self.run.came(1);
        self.run.must(node.waits.swap(false, Release));
    }
}

/// How often a thread looks whether its request has been served. That takes seconds, in which the thread that
/// serves has had its turn even where there is one processor for all.
const LOOKS: u32 = 1 << 28;

/// Waits until a request has been served, and says whether it ever was.
fn is_served(node: Pin<&Node>) -> bool {
    (0..LOOKS).any(|_| {
        spin_loop();
        !node.waits.load(Acquire)
    })
}
