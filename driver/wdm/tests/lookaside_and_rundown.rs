//! Lookaside lists, sequenced lists, owners that are exchanged, and run-down protection.

mod common;

use std::sync::Arc;

use common::{Controlled, Controls, kernel, with_file};
use ntmodel::{File, explore};
use wdm::{
    Error, Handled, InterlockedOwner, Irp, Lookaside, LookasideBox, NewDevice, PassiveLevel,
    Rundown, SList, Shared, irql::raise_to_dispatch,
};

const PUSH: u32 = 0x22_2000;
const POP: u32 = 0x22_2004;
const FLUSH: u32 = 0x22_2008;
const EXCHANGE: u32 = 0x22_200c;
const ACCESS: u32 = 0x22_2010;
const RUN_DOWN: u32 = 0x22_2014;
const SET_IF_EMPTY: u32 = 0x22_2018;

/// The output of every request.
const NOTHING: u32 = u32::MAX;

struct All {
    memory: Lookaside<u32>,
    list: SList<u32>,
    place: InterlockedOwner<LookasideBox<u32>>,
    value: Shared<Rundown<Vec<u32>>>,
}

impl All {
    fn run(&self, code: u32, input: u32, irql: &mut PassiveLevel) -> Option<u32> {
        match code {
            PUSH => Some(u32::from(self.list.push(self.memory.allocate(input)?))),
            POP => self.list.pop().map(|item| *item),
            FLUSH => {
                let mut digits = 0;
                self.list.flush(|item| digits = digits * 10 + *item);
                Some(digits)
            }
            EXCHANGE => {
                let old = self.place.exchange(self.memory.allocate(input));
                old.map(|old| *old)
            }
            // Returns the owner that was not stored.
            SET_IF_EMPTY => {
                let refused = self.place.set_if_empty(self.memory.allocate(input)?);
                refused.err().map(|owner| *owner)
            }
            ACCESS => self.value.access(irql, |value, _| value[0]),
            _ => self.value.run_down(irql).map(|value| value[1]),
        }
    }
}

impl Controls for All {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        // `Shared::new` may be called at DISPATCH_LEVEL, `ExInitializeRundownProtection` may not.
        let raised = raise_to_dispatch(irql, |irql| Shared::new(Rundown::new(7), device, irql));
        assert_eq!(raised.err(), Some(Error::INVALID_DEVICE_STATE));
        Ok(Self {
            memory: Lookaside::new(irql)?,
            list: SList::new(),
            place: InterlockedOwner::new(),
            value: Shared::new(Rundown::new(vec![7, 8]), device, irql)?,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let input = match irp.input::<u32>() {
            Ok(input) => input,
            Err(error) => return irp.complete(error, irql),
        };
        let answer = self.run(irp.code(), input, irql);
        irp.complete_with(&answer.unwrap_or(NOTHING), irql)
    }
}

fn request(file: &File, code: u32, input: u32) -> u32 {
    let end = common::end(&file.device_control(code, &input.to_le_bytes(), vec![0; 4]));
    u32::from_le_bytes(end.output.try_into().expect("four bytes"))
}

#[test]
fn last_item_is_popped_first() {
    with_file::<Controlled<All>>(&kernel(), |_, file| {
        assert_eq!(request(file, PUSH, 1), 1);
        for number in 2..10 {
            assert_eq!(request(file, PUSH, number), 0);
        }
        assert_eq!(request(file, POP, 0), 9);
        assert_eq!(request(file, FLUSH, 0), 87_654_321);
        assert_eq!(request(file, POP, 0), NOTHING);
        // Items that are on the list at the removal are freed.
        request(file, PUSH, 1);
    });
}

#[test]
fn exchanged_owner_is_the_old_one() {
    with_file::<Controlled<All>>(&kernel(), |_, file| {
        assert_eq!(request(file, EXCHANGE, 1), NOTHING);
        assert_eq!(request(file, EXCHANGE, 2), 1);
        assert_eq!(request(file, EXCHANGE, 3), 2);
    });
}

#[test]
fn owner_is_stored_only_in_an_empty_place() {
    with_file::<Controlled<All>>(&kernel(), |_, file| {
        assert_eq!(request(file, SET_IF_EMPTY, 1), NOTHING);
        assert_eq!(request(file, SET_IF_EMPTY, 2), 2);
        assert_eq!(request(file, EXCHANGE, 3), 1);
    });
}

#[test]
fn one_owner_is_stored_in_any_order() {
    explore::check(2_000, |kernel| {
        with_file::<Controlled<All>>(kernel, |_, file| {
            let file_clone = Arc::clone(file);
            let other = kernel.actor("other", move || request(&file_clone, SET_IF_EMPTY, 1));
            let refused = [request(file, SET_IF_EMPTY, 2), other.join()];
            let stored = request(file, EXCHANGE, 3);
            let one = [[NOTHING, 1], [2, NOTHING]].contains(&refused);
            let kept = stored == if refused[0] == NOTHING { 2 } else { 1 };
            kernel.verify(one && kept, || format!("{refused:?} {stored}"));
        });
    });
}

#[test]
fn value_that_was_run_down_is_not_accessed() {
    with_file::<Controlled<All>>(&kernel(), |_, file| {
        assert_eq!(request(file, ACCESS, 0), 7);
        assert_eq!(request(file, RUN_DOWN, 0), 8);
        assert_eq!(request(file, ACCESS, 0), NOTHING);
        assert_eq!(request(file, RUN_DOWN, 0), NOTHING);
    });
}

#[test]
fn items_are_popped_once_in_any_order() {
    explore::check(2_000, |kernel| {
        with_file::<Controlled<All>>(kernel, |_, file| {
            let file_clone = Arc::clone(file);
            let other = kernel.actor("other", move || {
                request(&file_clone, PUSH, 1);
                [
                    request(&file_clone, POP, 0),
                    request(&file_clone, EXCHANGE, 4),
                ]
            });
            request(file, PUSH, 2);
            let popped = request(file, POP, 0);
            let exchanged = request(file, EXCHANGE, 5);
            let [other, other_exchanged] = other.join();
            kernel.verify(popped + other == 3, || {
                format!("{popped} and {other} were popped")
            });
            let first = [exchanged, other_exchanged].contains(&NOTHING);
            kernel.verify(first, || "both found an owner".into());
        });
    });
}

#[test]
fn value_is_run_down_once_in_any_order() {
    explore::check(2_000, |kernel| {
        with_file::<Controlled<All>>(kernel, |_, file| {
            let file_clone = Arc::clone(file);
            let other = kernel.actor("other", move || {
                [
                    request(&file_clone, ACCESS, 0),
                    request(&file_clone, RUN_DOWN, 0),
                ]
            });
            let first = request(file, RUN_DOWN, 0);
            let [access, second] = other.join();
            let accessed = access == 7 || access == NOTHING;
            let once = [first, second].contains(&8) && [first, second].contains(&NOTHING);
            kernel.verify(accessed && once, || format!("{access} {first} {second}"));
        });
    });
}
