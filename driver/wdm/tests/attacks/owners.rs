//! Attacks on shared owners.

use std::rc::Rc;

use wdm::{
    DeviceObject, Error, InterlockedList, InterlockedOwner, LookasideBox, Node, PassiveLevel,
    Shared, SpinLock, ZoneBox,
};

/// An owner is used while it is in a place from which another thread may take it.
fn interlocked_owner_used_in_place(place: &InterlockedOwner<LookasideBox<u32>>, owner: LookasideBox<u32>) -> u32 {
    place.exchange(Some(owner));
    *owner //~ E0382
}

/// The owner in a place is looked at while another thread may take it.
fn owner_read_before_it_is_taken(place: &InterlockedOwner<Shared<u32>>) -> u32 {
    **place //~ E0614
}

/// `Shared` is covariant; the list in it stays what it is.
fn shared_list_shortened<'a>(it: Shared<InterlockedList<ZoneBox<Node<&'static str>>>>) -> Shared<InterlockedList<ZoneBox<Node<&'a str>>>> {
    it //~ lifetime
}

/// Memory is allocated under a lock.
fn shared_made_under_a_lock(device: &DeviceObject, lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| Shared::new(Ok::<_, wdm::Error>(1_u32), device, held).ok()); //~ E0277
}

/// A work item drops a value that borrows from a stack frame, after the frame has ended.
fn shared_of_a_borrowing_value(device: &DeviceObject, irql: &mut PassiveLevel) {
    let local = 1;
    let _ = Shared::<&u32>::new(Ok::<_, Error>(&local), device, irql); //~ E0597
}

/// A work item drops a value that is not `Send`.
fn shared_of_a_value_for_one_thread(device: &DeviceObject, irql: &mut PassiveLevel) {
    let _ = Shared::<Rc<u32>>::new(Ok::<_, Error>(Rc::new(1)), device, irql); //~ E0277
}

/// A value that others share is borrowed exclusively.
fn shared_pinned_mutably(mut value: Shared<u32>) {
    *value = 7; //~ E0594
}

/// A reference to the value is kept after the drop of its last owner.
fn shared_reference_kept(shared: wdm::Shared<u32>) -> &'static u32 {
    let value: &'static u32 = &shared; //~ E0597
    value
}

/// The shared value is changed through one of its owners.
fn shared_value_changed(mut shared: wdm::Shared<u32>) {
    *shared += 1; //~ E0594
}

/// The value is moved out while others share it.
fn shared_value_moved_out(shared: wdm::Shared<String>) -> String {
    *shared //~ E0507
}
