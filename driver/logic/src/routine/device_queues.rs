//! Device queues: checks the order, and that one request is served at a time.

use core::{
    hint::spin_loop,
    iter::successors,
    pin::Pin,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};

use interlock_abi::{Call, CallResult, Routine, RunThreads};
use pinned_init::stack_pin_init;
use wdm::{
    Arrival, Busy, ByKey, ByKeyIfBusy, DeviceQueue, DeviceQueueNode, Error, Insert, Keyed,
    NodeInUse, PassiveLevel, Remove,
    irql::{DispatchLevel, raise_to_dispatch},
};

use super::{narrow, nodes, push_remaining, set_found, threads::Run};

/// A request on a device queue.
struct Request {
    /// The node of the call, or the number of the thread that submits the request; also the key.
    number: u64,
    /// Whether it was submitted and is not served yet.
    waits: AtomicBool,
}

type Queue<'n, O> = DeviceQueue<'n, Request, O>;
type Node = DeviceQueueNode<Request>;

/// A list of nodes, each pinned in its own stack frame, since the elements of a slice cannot be pinned one by one.
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

/// Calls a closure with a list of nodes for the numbers, followed by `rest`.
// Not generic, so that it is compiled once.
fn with_nodes(numbers: &[u64], rest: Option<&Nodes<'_>>, f: &mut dyn FnMut(Option<&Nodes<'_>>)) {
    let [numbers @ .., number] = numbers else {
        return f(rest);
    };
    stack_pin_init!(let node = DeviceQueueNode::new(request(*number)));
    let first = node.as_ref();
    with_nodes(numbers, Some(&Nodes { first, rest }), f);
}

fn request(number: u64) -> Request {
    Request {
        number,
        waits: AtomicBool::new(false),
    }
}

/// Insertion and removal for each order of a queue.
trait Order: Sized + 'static {
    fn insert<'q, 'n>(
        queue: &'q Queue<'n, Self>,
        node: Pin<&'n Node>,
        irql: &mut DispatchLevel,
    ) -> Result<Insert<'q, 'n, Request, Self>, Error>;

    /// Removes the next node of a busy queue.
    fn remove<'q, 'n>(
        queue: &'q Queue<'n, Self>,
        busy: Busy<'q, 'n, Request, Self>,
        key: u32,
        irql: &mut DispatchLevel,
    ) -> Remove<'q, 'n, Request, Self>;
}

impl Order for Arrival {
    fn insert<'q, 'n>(
        queue: &'q Queue<'n, Self>,
        node: Pin<&'n Node>,
        irql: &mut DispatchLevel,
    ) -> Result<Insert<'q, 'n, Request, Self>, Error> {
        queue.insert(node, irql).map_err(in_use)
    }

    fn remove<'q, 'n>(
        _: &'q Queue<'n, Self>,
        busy: Busy<'q, 'n, Request, Self>,
        _: u32,
        irql: &mut DispatchLevel,
    ) -> Remove<'q, 'n, Request, Self> {
        busy.remove(irql)
    }
}

impl Order for ByKey {
    fn insert<'q, 'n>(
        queue: &'q Queue<'n, Self>,
        node: Pin<&'n Node>,
        irql: &mut DispatchLevel,
    ) -> Result<Insert<'q, 'n, Request, Self>, Error> {
        insert_by_key(queue, node, irql)
    }

    fn remove<'q, 'n>(
        _: &'q Queue<'n, Self>,
        busy: Busy<'q, 'n, Request, Self>,
        key: u32,
        irql: &mut DispatchLevel,
    ) -> Remove<'q, 'n, Request, Self> {
        busy.remove_by_key(key, irql)
    }
}

impl Order for ByKeyIfBusy {
    fn insert<'q, 'n>(
        queue: &'q Queue<'n, Self>,
        node: Pin<&'n Node>,
        irql: &mut DispatchLevel,
    ) -> Result<Insert<'q, 'n, Request, Self>, Error> {
        insert_by_key(queue, node, irql)
    }

    fn remove<'q, 'n>(
        queue: &'q Queue<'n, Self>,
        _: Busy<'q, 'n, Request, Self>,
        key: u32,
        irql: &mut DispatchLevel,
    ) -> Remove<'q, 'n, Request, Self> {
        queue.remove_by_key_if_busy(key, irql)
    }
}

fn insert_by_key<'q, 'n, O: Keyed>(
    queue: &'q Queue<'n, O>,
    node: Pin<&'n Node>,
    irql: &mut DispatchLevel,
) -> Result<Insert<'q, 'n, Request, O>, Error> {
    let key = narrow(node.number)?;
    queue.insert_by_key(node, key, irql).map_err(in_use)
}

/// A queue of any order that one thread uses.
trait AnyQueue<'n> {
    /// Inserts a node. Returns `false` if it was not queued: the queue is busy with it now.
    fn insert(&mut self, node: Pin<&'n Node>, irql: &mut DispatchLevel) -> Result<bool, Error>;

    /// Removes the next node of a busy queue.
    fn remove(&mut self, key: u32, irql: &mut DispatchLevel) -> Option<Pin<&'n Node>>;

    /// Removes this node; returns `false` if it was not queued.
    fn remove_entry(&self, node: Pin<&'n Node>, irql: &mut PassiveLevel) -> bool;
}

/// A queue, and the proof that it is busy.
struct OneThread<'q, 'n, O> {
    queue: &'q Queue<'n, O>,
    busy: Option<Busy<'q, 'n, Request, O>>,
}

impl<'n, O: Order> AnyQueue<'n> for OneThread<'_, 'n, O> {
    fn insert(&mut self, node: Pin<&'n Node>, irql: &mut DispatchLevel) -> Result<bool, Error> {
        match O::insert(self.queue, node, irql)? {
            Insert::Queued => Ok(true),
            Insert::StartNow(busy) => {
                self.busy = Some(busy);
                Ok(false)
            }
        }
    }

    fn remove(&mut self, key: u32, irql: &mut DispatchLevel) -> Option<Pin<&'n Node>> {
        match O::remove(self.queue, self.busy.take()?, key, irql) {
            Remove::Next(node, busy) => {
                self.busy = Some(busy);
                Some(node)
            }
            Remove::NotBusy => None,
        }
    }

    fn remove_entry(&self, node: Pin<&'n Node>, irql: &mut PassiveLevel) -> bool {
        self.queue.remove_entry(node, irql)
    }
}

/// A queue of any order that several threads use.
trait SharedQueue<'n>: Sync {
    /// Calls a closure with the queue as this thread uses it. The closure leaves the queue not busy, or to another thread.
    fn used_by_one(&self, f: &mut dyn FnMut(&mut dyn AnyQueue<'n>));
}

impl<'n, O: Order> SharedQueue<'n> for Queue<'n, O> {
    fn used_by_one(&self, f: &mut dyn FnMut(&mut dyn AnyQueue<'n>)) {
        f(&mut OneThread {
            queue: self,
            busy: None,
        });
    }
}

/// Calls a closure with an empty queue of the order that a routine needs.
fn with_queue<'n>(routine: Routine, f: &mut dyn FnMut(&dyn SharedQueue<'n>)) {
    match routine {
        Routine::KeInsertByKeyDeviceQueue | Routine::KeRemoveByKeyDeviceQueue => {
            with_queue_of::<ByKey>(f);
        }
        Routine::KeRemoveByKeyDeviceQueueIfBusy => with_queue_of::<ByKeyIfBusy>(f),
        _ => with_queue_of::<Arrival>(f),
    }
}

fn with_queue_of<'n, O: Order>(f: &mut dyn FnMut(&dyn SharedQueue<'n>)) {
    stack_pin_init!(let queue = Queue::<'n, O>::new());
    f(queue.as_ref().get_ref());
}

/// Runs a routine of a device queue once, for a checked call.
pub fn run(
    routine: Routine,
    call: &Call,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let mut done = Err(Error::INVALID_DEVICE_REQUEST);
    with_nodes(nodes(call), None, &mut |list| {
        done = raise_to_dispatch(irql, |irql| run_with(routine, call, list, result, irql));
    });
    done
}

fn run_with(
    routine: Routine,
    call: &Call,
    list: Option<&Nodes<'_>>,
    result: &mut CallResult,
    irql: &mut DispatchLevel,
) -> Result<(), Error> {
    if routine == Routine::KeRemoveEntryDeviceQueue {
        return remove_entry(call.argument, list, result, irql);
    }
    if routine == Routine::KeRemoveByKeyDeviceQueueIfBusy && call.reserved == 1 {
        return remove_from_idle(narrow(call.argument)?, result, irql);
    }
    stack_pin_init!(let first = DeviceQueueNode::new(request(0)));
    let first = first.as_ref();
    let mut done = Ok(());
    with_queue(routine, &mut |queue| {
        queue.used_by_one(&mut |queue| {
            done = match routine {
                Routine::KeInitializeDeviceQueue => queue
                    .insert(first, irql)
                    .map(|queued| result.value = queued.into()),
                Routine::KeInsertDeviceQueue | Routine::KeInsertByKeyDeviceQueue => {
                    insert_all(queue, list, result, irql)
                }
                _ => remove_first(queue, first, call, list, result, irql),
            };
        });
    });
    done
}

fn insert_all<'n>(
    queue: &mut dyn AnyQueue<'n>,
    list: Option<&'n Nodes<'n>>,
    result: &mut CallResult,
    irql: &mut DispatchLevel,
) -> Result<(), Error> {
    for (index, node) in Nodes::iter(list).enumerate() {
        if queue.insert(node, irql)? {
            result.value += 1;
        } else {
            result.found = (index == 0).into();
        }
    }
    drain(queue, result, irql)
}

fn remove_from_idle(
    key: u32,
    result: &mut CallResult,
    irql: &mut DispatchLevel,
) -> Result<(), Error> {
    stack_pin_init!(let queue = Queue::<ByKeyIfBusy>::new());
    match queue.remove_by_key_if_busy(key, irql) {
        Remove::Next(..) => Err(Error::INTERNAL_ERROR),
        Remove::NotBusy => {
            set_not_busy(result);
            Ok(())
        }
    }
}

fn remove_first<'n>(
    queue: &mut dyn AnyQueue<'n>,
    served: Pin<&'n Node>,
    call: &Call,
    list: Option<&'n Nodes<'n>>,
    result: &mut CallResult,
    irql: &mut DispatchLevel,
) -> Result<(), Error> {
    queue_behind(queue, served, list, irql)?;
    let Some(node) = queue.remove(narrow(call.argument)?, irql) else {
        set_not_busy(result);
        return Ok(());
    };
    set_found(result, Some(node.number));
    drain(queue, result, irql)
}

fn remove_entry(
    index: u64,
    list: Option<&Nodes<'_>>,
    result: &mut CallResult,
    irql: &mut DispatchLevel,
) -> Result<(), Error> {
    stack_pin_init!(let served = DeviceQueueNode::new(request(0)));
    stack_pin_init!(let queue = Queue::<Arrival>::new());
    let queue = queue.as_ref().get_ref();
    let any = &mut OneThread { queue, busy: None };
    queue_behind(any, served.as_ref(), list, irql)?;
    let index = usize::try_from(index).map_err(|_| Error::INVALID_PARAMETER)?;
    let node = Nodes::iter(list).nth(index);
    let node = node.ok_or(Error::INVALID_PARAMETER)?;
    result.found = queue.remove_entry(node, irql).into();
    // A second time, it is no longer queued.
    result.value = queue.remove_entry(node, irql).into();
    drain(any, result, irql)
}

/// Makes a queue busy with one request and queues the others.
fn queue_behind<'n>(
    queue: &mut dyn AnyQueue<'n>,
    served: Pin<&'n Node>,
    list: Option<&'n Nodes<'n>>,
    irql: &mut DispatchLevel,
) -> Result<(), Error> {
    if queue.insert(served, irql)? {
        return Err(Error::INTERNAL_ERROR);
    }
    for node in Nodes::iter(list) {
        if !queue.insert(node, irql)? {
            return Err(Error::INTERNAL_ERROR);
        }
    }
    Ok(())
}

/// Adds the remaining requests to the result; a queue by key from the smallest key.
fn drain(
    queue: &mut dyn AnyQueue<'_>,
    result: &mut CallResult,
    irql: &mut DispatchLevel,
) -> Result<(), Error> {
    while let Some(node) = queue.remove(0, irql) {
        push_remaining(result, node.number)?;
    }
    Ok(())
}

fn set_not_busy(result: &mut CallResult) {
    result.status = Error::DEVICE_NOT_READY.to_raw().cast_unsigned();
}

/// Converts the error of an insertion, which cannot happen here, since each node is inserted while it is on no
/// queue.
fn in_use(NodeInUse: NodeInUse) -> Error {
    Error::INTERNAL_ERROR
}

/// Submits a request to one shared device, in every round of every thread. Returns the expected result.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    const NUMBERS: [u64; RunThreads::MAX_THREADS as usize] =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut result = Err(Error::INTERNAL_ERROR);
    let threads = usize::try_from(run.threads).unwrap_or(NUMBERS.len());
    let numbers = NUMBERS.get(..threads).unwrap_or(&NUMBERS);
    with_nodes(numbers, None, &mut |list| {
        with_queue(run.routine, &mut |queue| {
            result = submit_in_threads(run, queue, list, irql);
        });
    });
    result.map(|()| run.total())
}

fn submit_in_threads<'n>(
    run: &Run,
    queue: &dyn SharedQueue<'n>,
    list: Option<&'n Nodes<'n>>,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let device = Device {
        run,
        serves: AtomicBool::new(false),
    };
    run.each_thread(irql, &|thread, irql: &mut PassiveLevel| {
        let mut nodes = Nodes::iter(list);
        let Some(node) = nodes.find(|node| node.number == u64::from(thread)) else {
            return run.check(false);
        };
        for _ in 0..run.rounds {
            queue.used_by_one(&mut |queue| device.submit(queue, node, irql));
            if !is_served(node) {
                return run.check(false);
            }
        }
    })
}

/// A device that serves one request at a time.
struct Device<'d> {
    run: &'d Run,
    serves: AtomicBool,
}

impl Device<'_> {
    /// Inserts a request; if it was not queued, serves it and all that follow.
    fn submit<'n>(
        &self,
        queue: &mut dyn AnyQueue<'n>,
        node: Pin<&'n Node>,
        irql: &mut PassiveLevel,
    ) {
        node.waits.store(true, Release);
        match raise_to_dispatch(irql, |irql| queue.insert(node, irql)) {
            Ok(true) => {}
            Ok(false) => self.serve_all(queue, node, irql),
            Err(_) => self.run.check(false),
        }
        if self.run.routine == Routine::KeRemoveEntryDeviceQueue && queue.remove_entry(node, irql) {
            self.done(node);
        }
    }

    /// Serves a request and all that follow.
    fn serve_all<'n>(
        &self,
        queue: &mut dyn AnyQueue<'n>,
        first: Pin<&'n Node>,
        irql: &mut PassiveLevel,
    ) {
        let mut next = Some(first);
        while let Some(node) = next {
            self.serve(node);
            // Lowers the IRQL each time, since otherwise the other threads could keep this one at `DISPATCH_LEVEL`.
            let key = narrow(node.number).unwrap_or(0);
            next = raise_to_dispatch(irql, |irql| queue.remove(key, irql));
        }
    }

    /// Serves a request, and checks that no other is being served.
    fn serve(&self, node: Pin<&Node>) {
        self.run.check(!self.serves.swap(true, Acquire));
        self.done(node);
        self.run.check(self.serves.swap(false, Release));
    }

    /// Counts a request, and checks that it was waiting. Its thread may submit it again immediately.
    fn done(&self, node: Pin<&Node>) {
        self.run.add_actual(1);
        self.run.check(node.waits.swap(false, Release));
    }
}

/// The number of times that a thread polls whether its request was served. This takes seconds, so the serving thread
/// runs even on a single processor.
const POLLS: u32 = 1 << 28;

/// Waits until a request is served; returns `false` if this takes too long.
fn is_served(node: Pin<&Node>) -> bool {
    (0..POLLS).any(|_| {
        spin_loop();
        !node.waits.load(Acquire)
    })
}
