//! Attacks that free pinned memory without a drop: `MaybeUninit` is a `Wrapper` of `pinned-init`, whose `pin_chain` lends the pinned
//! value before it is out of reach.

mod common;

use std::{
    cell::Cell,
    convert::Infallible,
    mem::{MaybeUninit, forget},
    pin::Pin,
    ptr::from_ref,
    time::Duration,
};

use common::{Controlled, Controls, Loaded};
use nt::STATUS_SUCCESS;
use pinned_init::{__internal::StackInit, PinInit, Wrapper, stack_pin_init};
use wdm::{
    DeviceQueue, DeviceQueueNode, Dpc, DpcRoutine, Error, Handled, Insert, Irp, NewDevice,
    NtStatus, PassiveLevel, Timer, TimerRoutine,
    irql::{DispatchLevel, raise_to_dispatch},
};

type Attack = fn(&mut DispatchLevel);

thread_local! {
    static ATTACK: Cell<Option<Attack>> = const { Cell::new(None) };
}

/// A device that runs the attack at `DISPATCH_LEVEL`, where no DPC runs before it ends.
struct Attacked;

impl Controls for Attacked {
    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self)
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let attack = ATTACK.take().expect("an attack");
        raise_to_dispatch(irql, attack);
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

/// Runs an attack. The driver is not unloaded, since the attack leaves a DPC.
fn run(attack: Attack) -> Loaded {
    let driver = Loaded::new::<Controlled<Attacked>>();
    ATTACK.set(Some(attack));
    assert_eq!(driver.send(0x22_2000, 1).answer(), STATUS_SUCCESS);
    driver
}

thread_local! {
    /// What the routines have added up, which the model calls in the test's thread.
    static SUM: Cell<u64> = const { Cell::new(0) };
}

struct Adds(u64);

impl DpcRoutine for Adds {
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        SUM.set(SUM.get() + dpc.0);
    }
}

impl TimerRoutine for Adds {
    fn run(timer: &Timer<Self>, _: &mut DispatchLevel) {
        SUM.set(SUM.get() + timer.0);
    }
}

/// Initialises a value in memory of the pool and frees the memory. The model finds a DPC or a timer in it that the kernel still uses.
fn free<T>(value: impl PinInit<T, Error>) {
    let mut slot = Box::pin(StackInit::<MaybeUninit<T>>::uninit());
    let slot = slot.as_mut().init(MaybeUninit::pin_init::<Error>(value));
    assert!(slot.is_ok());
}

#[test]
fn a_dpc_stays_when_the_memory_of_its_owner_is_freed() {
    let driver = run(|_| {
        let dpc = Dpc::new(Ok::<_, Error>(Adds(3)));
        free(dpc.pin_chain(|dpc: Pin<&mut Dpc<Adds>>| {
            assert!(dpc.queue());
            Ok(())
        }));
    });
    assert_eq!(SUM.take(), 3);
    forget(driver);
}

#[test]
fn a_timer_stays_when_the_memory_of_its_owner_is_freed() {
    let driver = run(|irql| {
        let timer = Timer::new(Ok::<_, Error>(Adds(5)));
        free(timer.pin_chain(|timer: Pin<&mut Timer<Adds>>| {
            assert!(!Timer::set(&timer, Duration::from_secs(1), irql));
            Ok(())
        }));
    });
    driver.kernel.advance(Duration::from_secs(2));
    assert_eq!(SUM.take(), 5);
    forget(driver);
}

/// Makes a queue that is never dropped. The first one gets the nodes; from the others, the second node is removed. Returns the queue's address.
fn use_queue<'n>(
    nodes: [Pin<&'n DeviceQueueNode<u32>>; 2],
    is_first: bool,
    irql: &mut DispatchLevel,
) -> usize {
    let mut address = 0;
    let used = DeviceQueue::new().pin_chain(|queue: Pin<&mut DeviceQueue<'n, u32>>| {
        let queue = queue.as_ref().get_ref();
        address = from_ref(queue).addr();
        if is_first {
            assert!(matches!(
                queue.insert(nodes[0], irql),
                Ok(Insert::StartNow(_))
            ));
            assert!(matches!(queue.insert(nodes[1], irql), Ok(Insert::Queued)));
        } else {
            assert!(!queue.remove_entry(nodes[1], irql));
        }
        Ok(())
    });
    stack_pin_init!(let _queue = MaybeUninit::<DeviceQueue<'n, u32>>::pin_init::<Infallible>(used));
    address
}

#[test]
fn a_node_is_not_removed_from_another_queue_at_the_address_of_its_queue() {
    let driver = run(|irql| {
        stack_pin_init!(let first = DeviceQueueNode::new(1));
        stack_pin_init!(let second = DeviceQueueNode::new(2));
        let nodes = [first.as_ref(), second.as_ref()];
        let calls = [true, false, false].map(|is_first| use_queue(nodes, is_first, irql));
        assert!(calls.iter().all(|&address| address == calls[0]));
    });
    driver.unload();
}
