//! Attacks on run-down protection.

use core::pin::Pin;

use wdm::{
    Handled, Irp, Mutex, NtStatus, PassiveLevel, PendedIrp, Rundown,
    irql::{DispatchLevel, ObjectHeld, SpinLockHeld}, lock_order::{Alone, Unlocked},
};

/// A request is completed during an access: the completion routine of an upper driver closes its handle in the same thread, and the
/// value is run down, which waits for the access.
fn rundown_access_completes(value: &Rundown<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    value.access(irql, |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
}

/// A request is forwarded during an access: the lower driver completes it, and a driver above calls this one in the same thread,
/// where the value is run down.
fn rundown_access_forwards<'irp>(value: &Rundown<u32>, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Option<Handled<'irp>> {
    value.access(irql, |_, irql| irp.forward(irql)) //~ E0277
}

/// An access under a spin lock forgets the lock, and completes a request.
fn rundown_access_under_a_lock_completes(value: &Rundown<u32>, irp: PendedIrp, held: &mut SpinLockHeld<Alone>) {
    value.access(held, |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
}

/// An access waits for a mutex whose holder runs the value down.
fn rundown_access_waits_for_a_mutex(value: &Rundown<u32>, mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |value, irql| mutex.with(irql, |sum, _| *sum += value)); //~ E0277
}

/// A DPC waits until a value is run down.
fn rundown_in_a_dpc(value: &Rundown<u32>, irql: &mut DispatchLevel) {
    value.run_down(irql); //~ E0277
}

/// A value under run-down protection is moved out of the place in which the kernel has initialised the protection.
fn rundown_moved_while_it_is_used(one: Pin<&mut Rundown<u32>>, other: Pin<&mut Rundown<u32>>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277
    //~^ E0277
}

/// Two threads each run down the value that the other one accesses.
fn rundown_of_each_other(one: &Rundown<u32>, other: &Rundown<u32>, irql: &mut PassiveLevel) {
    one.access(irql, |_, irql| other.run_down(irql)); //~ E0277
    other.access(irql, |_, irql| one.run_down(irql)); //~ E0277
}

/// The token of an access is kept after the access has ended.
fn rundown_token_kept<'a>(value: &Rundown<u32>, irql: &'a mut PassiveLevel) -> Option<&'a mut ObjectHeld<Unlocked>> {
    value.access(irql, |_, irql| irql) //~ lifetime
}

/// A value is used after another thread has run it down.
fn rundown_value_kept<'a>(value: &'a Rundown<u32>, irql: &mut PassiveLevel) -> Option<&'a u32> {
    value.access(irql, |value, _| value) //~ lifetime
}

/// A value under run-down protection becomes one of an inner frame.
fn rundown_value_shortened<'a>(it: Rundown<&'static str>) -> Rundown<&'a str> {
    it //~ lifetime
}

/// The closure of an access captures the outer token and runs the value down.
fn rundown_with_the_outer_token(value: &Rundown<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |_, _| value.run_down(irql)); //~ E0500
    //~^ E0501
}

/// A value is run down while the same thread accesses it, which would wait for itself.
fn rundown_within_its_own_access(value: &Rundown<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |_, irql| value.run_down(irql)); //~ E0277
}
