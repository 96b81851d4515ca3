//! Attacks on lookaside lists and the lists of their blocks, on the model kernel.

mod common;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use common::{Controlled, Controls, Loaded};
use wdm::{
    DeviceObject, Error, Handled, InterlockedOwner, Irp, Lookaside, LookasideBox, NewDevice,
    NtStatus, PassiveLevel, SList, Shared, SpinLock,
};

const RUN: u32 = 0x22_2000;

static LEFT: AtomicU32 = AtomicU32::new(0);

struct Left;

impl Drop for Left {
    fn drop(&mut self) {
        LEFT.fetch_sub(1, SeqCst);
    }
}

struct Owner(#[expect(dead_code, reason = "it is dropped")] Shared<Left>);

#[repr(align(16))]
struct Item(
    #[expect(dead_code, reason = "it is dropped")] [u8; 3],
    Option<Owner>,
);

struct Attacked {
    object: DeviceObject,
    lock: Shared<SpinLock<()>>,
}

impl Controls for Attacked {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let lock = Shared::new(SpinLock::new(()), device, irql)?;
        let object = DeviceObject::clone(device);
        Ok(Self { object, lock })
    }

    /// Drops the items of a list at `DISPATCH_LEVEL`, under a lock, after their lookaside list was dropped.
    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let items = SList::new();
        let place = InterlockedOwner::<LookasideBox<Shared<Left>>>::new();
        let memory = Lookaside::new(irql).expect("memory");
        let others = Lookaside::new(irql).expect("memory");
        let empty = Lookaside::<()>::new(irql).expect("memory");
        for number in 0..5 {
            LEFT.fetch_add(2, SeqCst);
            let [one, other] = [(); 2].map(|()| {
                let left = Shared::new(Ok::<_, Error>(Left), &self.object, irql);
                left.expect("memory")
            });
            let item = Item([number; 3], Some(Owner(one)));
            items.push(memory.allocate(item).expect("memory"));
            drop(place.exchange(others.allocate(other)));
        }
        let nothing = SList::new();
        nothing.push(empty.allocate(()).expect("memory"));
        drop((memory, others, empty));
        // The closure pushes items again while the list is being emptied.
        let mut count = 0;
        items.flush(|item| {
            assert!(std::ptr::from_ref(&*item).is_aligned());
            count += 1;
            items.push(item);
        });
        assert_eq!((count, items.depth()), (5, 5));
        self.lock.with(irql, |(), _| {
            let mut item = items.pop().expect("an item");
            item.1 = None;
            drop((item, items, place, nothing));
        });
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

#[test]
fn blocks_outlive_their_lookaside_list_and_are_freed_under_a_lock() {
    let driver = Loaded::new::<Controlled<Attacked>>();
    let end = driver.send(RUN, 0).ended().expect("it does not pend");
    assert_eq!(end.status, nt::STATUS_SUCCESS);
    driver.close(0);
    driver.unload();
    assert_eq!(LEFT.load(SeqCst), 0);
}
