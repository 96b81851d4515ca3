//! Blocks of a lookaside list on a sequenced list and in a slot, and a value that is run down.

use pinned_init::pin_data;
use wdm::{InterlockedOwner, Lookaside, LookasideBox, Rundown, SList, Shared, thread};

use crate::{
    THREADS, TIMES,
    kernel::{Kernel, io::at_add_device},
};

type Item = LookasideBox<Box<u32>>;

#[test]
fn each_block_of_a_lookaside_list_has_one_owner() {
    let _kernel = Kernel::start();
    at_add_device(|_, irql| {
        let list = Lookaside::<Box<u32>>::new(irql).expect("memory");
        let items = SList::new();
        let slot = InterlockedOwner::<Item>::new();
        let body = |number: u32, _: &mut _| {
            for time in 0..TIMES {
                let mut item = list.allocate(Box::new(number)).expect("memory");
                **item += time;
                items.push(item);
                if let Some(item) = items.pop() {
                    assert!(**item < THREADS + TIMES);
                    drop(slot.exchange(Some(item)));
                }
                if time % 2 == 0 {
                    items.flush(|item| assert!(**item < THREADS + TIMES));
                    items.push(list.allocate(Box::new(0)).expect("memory"));
                }
                if let Some(Err(item)) = items.pop().map(|item| slot.set_if_empty(item)) {
                    items.push(item);
                }
            }
        };
        thread::run(THREADS, irql, &body).expect("threads");
        // The blocks that are left own the list.
        drop(list);
        drop(slot.take());
    });
}

#[pin_data]
struct Provider {
    #[pin]
    value: Rundown<Box<u32>>,
}

#[test]
fn a_value_is_run_down_while_it_is_accessed() {
    let _kernel = Kernel::start();
    at_add_device(|device, irql| {
        for _ in 0..TIMES {
            let init = pinned_init::try_pin_init!(Provider { value <- Rundown::new(Box::new(7)) }? wdm::Error);
            let provider = Shared::<Provider>::new(init, device, irql).expect("memory");
            let body = |number: u32, irql: &mut wdm::PassiveLevel| {
                for _ in 0..TIMES {
                    let seen = provider.value.access(irql, |value, _| **value);
                    assert!(seen.is_none_or(|value| value == 7));
                }
                if number != 0 {
                    drop(provider.value.run_down(irql));
                }
            };
            thread::run(THREADS, irql, &body).expect("threads");
        }
    });
}
