//! Attacks on device queues: threads insert the same nodes into two queues, remove them by their entries, and serve both queues.

mod common;

use std::{pin::Pin, sync::Arc};

use common::{Controlled, Controls, with_file};
use ntmodel::{Kernel, explore};
use pinned_init::stack_pin_init;
use wdm::{
    DeviceQueue, DeviceQueueNode, Error, Handled, Insert, InterlockedLong, Irp, NewDevice,
    NtStatus, PassiveLevel, Remove,
    irql::{DispatchLevel, raise_to_dispatch},
    thread,
};

type Queue<'n> = DeviceQueue<'n, u32>;
type Node<'n> = Pin<&'n DeviceQueueNode<u32>>;

/// How often a node was queued, and how often one left a queue.
struct Counts {
    queued: InterlockedLong,
    removed: InterlockedLong,
}

impl Counts {
    /// Inserts a node, and serves the queue if it was not busy.
    fn insert<'n>(&self, queue: &Queue<'n>, node: Node<'n>, irql: &mut DispatchLevel) {
        match queue.insert(node, irql) {
            Ok(Insert::Queued) => {
                self.queued.increment();
            }
            Ok(Insert::StartNow(mut busy)) => {
                while let Remove::Next(node, again) = busy.remove(irql) {
                    assert!([1, 2].contains(&**node));
                    self.removed.increment();
                    busy = again;
                }
            }
            // It is on a queue, or another thread is inserting or removing it.
            Err(_) => {}
        }
    }

    fn remove<'n>(&self, queue: &Queue<'n>, node: Node<'n>, irql: &mut DispatchLevel) {
        if queue.remove_entry(node, irql) {
            self.removed.increment();
        }
    }
}

struct Attacked;

impl Controls for Attacked {
    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self)
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        stack_pin_init!(let one = DeviceQueueNode::new(1));
        stack_pin_init!(let two = DeviceQueueNode::new(2));
        stack_pin_init!(let first = Queue::new());
        stack_pin_init!(let second = Queue::new());
        let (one, two) = (one.as_ref(), two.as_ref());
        let (first, second) = (&*first, &*second);
        let counts = Counts {
            queued: InterlockedLong::new(0),
            removed: InterlockedLong::new(0),
        };
        let body = |number: u32, irql: &mut PassiveLevel| {
            raise_to_dispatch(irql, |irql| match number {
                0 => {
                    counts.insert(first, one, irql);
                    counts.insert(first, two, irql);
                }
                1 => {
                    counts.insert(second, two, irql);
                    counts.insert(second, one, irql);
                }
                _ => {
                    counts.insert(first, one, irql);
                    counts.remove(second, one, irql);
                    counts.remove(first, one, irql);
                    counts.remove(second, two, irql);
                }
            });
        };
        thread::run(3, irql, &body).expect("threads");
        assert_eq!(counts.queued.read(), counts.removed.read());
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

#[test]
fn nodes_are_on_one_queue_at_a_time() {
    explore::check(2_000, |kernel: &Arc<Kernel>| {
        with_file::<Controlled<Attacked>>(kernel, |_, file| {
            let sent = file.device_control(0x22_2000, &[], Vec::new());
            assert_eq!(sent.status(), Some(0));
        });
    });
}
