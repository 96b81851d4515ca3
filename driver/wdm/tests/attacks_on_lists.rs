//! Attacks on the lists that several threads use: items are moved from list to list, popped and dropped under a lock, while another
//! thread extends their zone, empties the lists, or removes the device with them.

mod common;

use std::sync::Arc;

use ntmodel::{Kernel, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, DeviceObject, Error, Handled, InterlockedList, InterlockedOwner, InterlockedStack, Irp,
    Lookaside, LookasideBox, NewDevice, Node, NtStatus, PassiveLevel, SList, Shared, SpinLock,
    Zone, ZoneBox,
};

const PUSH: u32 = 0x22_2000;
const POP: u32 = 0x22_2004;
const MOVE: u32 = 0x22_2008;
const EXTEND: u32 = 0x22_200c;
const FLUSH: u32 = 0x22_2010;

/// The value that an item owns, which is dropped with its last owner.
type Value = Shared<u64>;

#[pin_data]
struct Attacked {
    object: DeviceObject,
    zone: Zone<Node<Value>>,
    memory: Lookaside<Value>,
    singly: SList<Value>,
    place: InterlockedOwner<ZoneBox<Node<Value>>>,
    #[pin]
    list: InterlockedList<ZoneBox<Node<Value>>>,
    #[pin]
    stack: InterlockedStack<ZoneBox<Node<Value>>>,
    #[pin]
    lock: SpinLock<Option<LookasideBox<Value>>>,
}

impl Attacked {
    fn run(&self, code: u32, irql: &mut PassiveLevel) -> Result<(), Error> {
        match code {
            PUSH => {
                let value = Value::new(7, &self.object, irql)?;
                if let Some(item) = self.zone.allocate(Node::init(value.clone())) {
                    self.list.insert_tail(item);
                }
                if let Some(item) = self.memory.allocate(value) {
                    self.singly.push(item);
                }
            }
            POP => self.lock.with(irql, |kept, _| {
                *kept = self.singly.pop();
                assert!(kept.as_ref().is_none_or(|value| ***value == 7));
                drop(self.list.remove_head());
                drop(self.stack.pop());
                drop(self.place.take());
            }),
            MOVE => {
                if let Some(item) = self.list.remove_head() {
                    self.stack.push(item);
                }
                drop(self.place.exchange(self.stack.pop()));
                if let Some(item) = self.place.take() {
                    self.list.insert_head(item);
                }
            }
            EXTEND => return self.zone.extend(2, irql),
            _ => self.singly.flush(|item| {
                self.singly.push(item);
                drop(self.singly.pop());
            }),
        }
        Ok(())
    }
}

impl Device for Attacked {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let zone = Zone::new(1, &[], irql)?;
        let memory = Lookaside::new(irql)?;
        let object = (**device).clone();
        Ok(try_pin_init!(Self {
            object,
            zone,
            memory,
            singly: SList::new(),
            place: InterlockedOwner::new(),
            list <- InterlockedList::new(),
            stack <- InterlockedStack::new(),
            lock <- SpinLock::new(None),
        }? Error))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let status = match self.run(irp.code(), irql) {
            Ok(()) => NtStatus::SUCCESS,
            Err(error) => error.into(),
        };
        irp.complete(status, irql)
    }
}

/// One thread pushes and pops, while another does something else; then the device is removed with the remaining items.
fn concurrently<const CODE: u32>(kernel: &Arc<Kernel>) {
    common::with_file::<Attacked>(kernel, |device, file| {
        let send = |file: &ntmodel::File, codes: &[u32]| {
            for code in codes {
                drop(file.device_control(*code, &[], Vec::new()));
            }
        };
        send(file, &[PUSH, PUSH]);
        let file_clone = Arc::clone(file);
        let other = kernel.actor("other", move || send(&file_clone, &[CODE, PUSH]));
        send(file, &[PUSH, POP, MOVE]);
        device.surprise_remove();
        other.join();
    });
}

#[test]
fn items_are_moved_and_dropped_while_every_other_routine_runs() {
    for scenario in [
        concurrently::<POP>,
        concurrently::<MOVE>,
        concurrently::<EXTEND>,
        concurrently::<FLUSH>,
    ] {
        explore::check(200, scenario);
    }
}
