//! Interlocked lists, zones and device queues.

use core::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pinned_init::stack_pin_init;
use wdm::{
    Arrival, ByKey, ByKeyIfBusy, DeviceQueue, DeviceQueueNode, Insert, InterlockedList,
    InterlockedStack, Node, PassiveLevel, RawZone, Remove, Segment, Zone, ZoneBox,
    irql::{DispatchLevel, raise_to_dispatch},
    thread,
};

use crate::{
    THREADS, TIMES,
    kernel::{Kernel, io::at_passive},
};

/// A value in a block of a zone that owns memory.
type Item = ZoneBox<Node<Box<u32>>>;

fn item(zone: &Zone<Node<Box<u32>>>, number: u32) -> Item {
    zone.allocate(Node::new(Box::new(number))).expect("a block")
}

#[test]
fn each_item_of_an_interlocked_list_is_removed_once() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        let zone = Zone::new(THREADS, &[THREADS], irql).expect("a zone");
        stack_pin_init!(let list = InterlockedList::<Item>::new());
        stack_pin_init!(let stack = InterlockedStack::<Item>::new());
        let sum = AtomicU32::new(0);
        let pass = |number: u32, _: &mut PassiveLevel| {
            for time in 0..TIMES {
                if time.is_multiple_of(2) {
                    list.insert_tail(item(&zone, number));
                } else {
                    list.insert_head(item(&zone, number));
                }
                stack.push(item(&zone, number));
                let mut first = list.remove_head().expect("an item");
                ***first += 1;
                sum.fetch_add(***first, Relaxed);
                let top = stack.pop().expect("an item");
                sum.fetch_add(***top + 1, Relaxed);
            }
        };
        thread::run(THREADS, irql, &pass).expect("threads");
        let numbers: u32 = (1..=THREADS).sum();
        assert_eq!((sum.load(Relaxed), zone.in_use()), (2 * TIMES * numbers, 0));
        // The list drops its items, and the last block frees the zone.
        list.insert_tail(item(&zone, 0));
        stack.push(item(&zone, 0));
        drop(zone);
    });
}

#[test]
fn a_zone_is_extended_while_others_use_it_and_stays_until_its_last_block_is_freed() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        let zone = Zone::<Box<u32>>::new(1, &[], irql).expect("a zone");
        let raw = RawZone::new(32, Segment::new(80, 8, irql).expect("memory"), irql);
        let raw = raw.expect("a zone");
        let pass = |number: u32, irql: &mut PassiveLevel| {
            for _ in 0..TIMES {
                let block = loop {
                    match zone.allocate(Box::new(number)) {
                        Some(block) => break block,
                        None => zone.extend(1, irql).expect("memory"),
                    }
                };
                assert_eq!(**block, number);
                let Some(block) = raw.allocate() else {
                    let more = Segment::new(48, 0, irql).expect("memory");
                    raw.extend_interlocked(more, irql).expect("a segment");
                    continue;
                };
                block.free();
            }
        };
        thread::run(THREADS, irql, &pass).expect("threads");
        let last = zone.allocate(Box::new(7)).expect("a block");
        drop(zone);
        assert_eq!(**last, 7);
    });
}

/// Serves a node and every queued one.
fn serve<T>(insert: Insert<'_, '_, T, Arrival>, served: &AtomicU32, irql: &mut DispatchLevel) {
    let Insert::StartNow(mut busy) = insert else {
        return;
    };
    served.fetch_add(1, Relaxed);
    while let Remove::Next(_, again) = busy.remove(irql) {
        served.fetch_add(1, Relaxed);
        busy = again;
    }
}

#[test]
fn every_node_of_a_device_queue_is_served_or_removed() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        stack_pin_init!(let first = DeviceQueueNode::new(0));
        stack_pin_init!(let second = DeviceQueueNode::new(1));
        stack_pin_init!(let third = DeviceQueueNode::new(2));
        let nodes: [Pin<&DeviceQueueNode<u32>>; 3] =
            [first.as_ref(), second.as_ref(), third.as_ref()];
        stack_pin_init!(let queue = DeviceQueue::<u32>::new());
        let (inserted, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        let pass = |number: u32, irql: &mut PassiveLevel| {
            for time in 0..TIMES {
                let node = nodes[((number + time) % 3) as usize];
                raise_to_dispatch(irql, |irql| {
                    if let Ok(insert) = queue.insert(node, irql) {
                        inserted.fetch_add(1, Relaxed);
                        serve(insert, &ended, irql);
                    }
                });
                let other = nodes[(number % 3) as usize];
                if queue.remove_entry(other, irql) {
                    ended.fetch_add(1, Relaxed);
                }
            }
        };
        thread::run(THREADS, irql, &pass).expect("threads");
        assert_eq!(inserted.load(Relaxed), ended.load(Relaxed));
    });
}

#[test]
fn a_device_queue_by_key_releases_its_nodes_when_it_is_dropped() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        stack_pin_init!(let first = DeviceQueueNode::new(Box::new(1)));
        stack_pin_init!(let second = DeviceQueueNode::new(Box::new(2)));
        stack_pin_init!(let third = DeviceQueueNode::new(Box::new(3)));
        let nodes = [first.as_ref(), second.as_ref(), third.as_ref()];
        for _ in 0..2 {
            stack_pin_init!(let by_key = DeviceQueue::<Box<u32>, ByKey>::new());
            raise_to_dispatch(irql, |irql| {
                let Ok(Insert::StartNow(busy)) = by_key.insert_by_key(nodes[0], 0, irql) else {
                    panic!("the queue is not busy");
                };
                for (node, key) in [(nodes[1], 2), (nodes[2], 1)] {
                    assert!(matches!(
                        by_key.insert_by_key(node, key, irql),
                        Ok(Insert::Queued)
                    ));
                }
                assert!(by_key.insert_by_key(nodes[1], 3, irql).is_err());
                let Remove::Next(node, _busy) = busy.remove_by_key(2, irql) else {
                    panic!("two wait");
                };
                assert_eq!(***node, 2);
            });
        }
        stack_pin_init!(let if_busy = DeviceQueue::<Box<u32>, ByKeyIfBusy>::new());
        raise_to_dispatch(irql, |irql| {
            assert!(matches!(
                if_busy.remove_by_key_if_busy(0, irql),
                Remove::NotBusy
            ));
            for node in nodes {
                let _ = if_busy
                    .insert_by_key(node, 0, irql)
                    .expect("it is on no queue");
            }
            assert!(matches!(
                if_busy.remove_by_key_if_busy(0, irql),
                Remove::Next(..)
            ));
        });
    });
}
