//! Attacks that free pinned memory without a drop: `MaybeUninit` is a `Wrapper` of `pinned-init`, whose `pin_chain` lends the pinned
//! value, which can then no longer be dropped.

mod common;

use std::{
    cell::Cell,
    convert::Infallible,
    mem::{MaybeUninit, forget},
    pin::Pin,
    ptr::from_ref,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use common::{Controlled, Controls, Loaded};
use nt::STATUS_SUCCESS;
use pinned_init::{PinInit, Wrapper, stack_pin_init, stack_try_pin_init};
use wdm::{
    DeviceObject, DeviceQueue, DeviceQueueNode, Dpc, DpcRoutine, Error, Handled, Insert, Irp,
    NewDevice, NtStatus, PassiveLevel, Shared, Timer, TimerRoutine,
    irql::{DispatchLevel, raise_to_dispatch},
};

type Attack = fn(&DeviceObject, &mut DispatchLevel);

thread_local! {
    static ATTACK: Cell<Option<Attack>> = const { Cell::new(None) };
}

/// A device that runs the attack at `DISPATCH_LEVEL`, where no DPC runs before it ends.
struct Attacked(DeviceObject);

impl Controls for Attacked {
    fn add(device: &mut NewDevice, _: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self(DeviceObject::clone(device)))
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let attack = ATTACK.take().expect("an attack");
        raise_to_dispatch(irql, |irql| attack(&self.0, irql));
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

/// The sum that the routines have added to.
static SUM: AtomicU64 = AtomicU64::new(0);

struct Adds(u64);

impl DpcRoutine for Adds {
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        SUM.fetch_add(dpc.0, SeqCst);
    }
}

impl TimerRoutine for Adds {
    fn run(timer: &Timer<Self>, _: &mut DispatchLevel) {
        SUM.fetch_add(timer.0, SeqCst);
    }
}

#[test]
fn a_dpc_and_a_timer_stay_when_the_memory_of_their_owners_is_freed() {
    let driver = run(|device, irql| {
        let dpc = Dpc::new(Ok::<_, Error>(Adds(3)));
        let queued = dpc.pin_chain(|dpc: Pin<&mut Dpc<Adds>>| {
            assert!(dpc.queue());
            Ok(())
        });
        let slot = MaybeUninit::pin_init::<Error>(queued);
        let slot = Shared::<MaybeUninit<Dpc<Adds>>>::new(slot, device, irql);
        drop(slot.unwrap_or_else(|error| panic!("{error}")));
        let timer = Timer::new(Ok::<_, Error>(Adds(5)));
        let set = timer.pin_chain(|timer: Pin<&mut Timer<Adds>>| {
            Timer::set(&timer, Duration::from_secs(1), irql);
            Ok(())
        });
        stack_try_pin_init!(let slot = MaybeUninit::pin_init::<Error>(set));
        assert!(slot.is_ok());
    });
    driver.kernel.advance(Duration::from_secs(2));
    assert_eq!(SUM.load(SeqCst), 8);
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
    let driver = run(|_, irql| {
        stack_pin_init!(let first = DeviceQueueNode::new(1));
        stack_pin_init!(let second = DeviceQueueNode::new(2));
        let nodes = [first.as_ref(), second.as_ref()];
        let calls = [true, false, false].map(|is_first| use_queue(nodes, is_first, irql));
        assert!(calls.iter().all(|&address| address == calls[0]));
    });
    driver.unload();
}
