//! Attacks on the IRPs that are sent to the lower driver.

use wdm::{
    ControlCode, Handled, Irp, Lower, NewFilter, NtStatus, PassiveLevel, PendedIrp, PowerPolicy,
    PowerReference, SpinLock, thread, irql::{CallerLevel, DispatchLevel, raise_to_dispatch},
    lock_order::Alone,
};

/// A filter waits for the lower drivers though it may have been called at `DISPATCH_LEVEL`.
fn forwarded_and_waited_for_at_any_level<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    irp.forward_and_wait(irql).complete(irql) //~ E0277
    //~| the IRQL is not `PASSIVE_LEVEL` here
}

/// A request is forwarded at `DISPATCH_LEVEL`, though it came at another level.
fn forwarded_at_a_raised_irql<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    raise_to_dispatch(irql, |irql| irp.forward(irql)) //~ E0277
    //~| the IRQL was raised here
}

/// A request is completed after it was forwarded, when the lower drivers own it.
fn forwarded_irp_completed<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    let handled = irp.forward(irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0382
    handled
}

/// The parameters of a request are read after it was forwarded.
fn forwarded_irp_looked_at<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> (u32, Handled<'irp>) {
    let view = &*irp;
    let handled = irp.forward(irql); //~ E0505
    (view.code(), handled)
}

/// A request is forwarded under a spin lock, which the lower driver's routine or a completion routine may need.
fn forwarded_under_a_lock<'irp>(irp: Irp<'irp>, lock: &SpinLock<u32>, irql: &mut CallerLevel) -> Handled<'irp> {
    lock.with(irql, |_, held| irp.forward(held)) //~ E0277
    //~| the IRQL was raised here
}

/// A thread takes the IRP of a dispatch routine out of a lock, and forwards it outside of the requestor's thread.
fn irp_forwarded_in_a_thread(irp: Irp<'_>, irql: &mut PassiveLevel) {
    let irp: SpinLock<_> = SpinLock::new_static(Some(irp));
    let _ = thread::run(1, irql, &|_, irql| { //~ E0277
        let irp = irp.with(irql, |irp, _| irp.take());
        let _ = irp.map(|irp| irp.forward(irql));
    });
}

/// The input of a request to the device below is also its output.
fn lower_output_read_while_it_is_written(below: &Lower, code: ControlCode, bytes: &mut [u8], irql: &mut PassiveLevel) {
    let _ = below.device_control(code, bytes, bytes, None, irql); //~ E0502
}

/// A DPC sends a request to the device below and waits for it.
fn lower_request_in_a_dpc(below: &Lower, code: ControlCode, irql: &mut DispatchLevel) {
    let _ = below.device_control(code, &[], &mut [], None, irql); //~ E0308
}

/// A DPC forwards a request to a driver that may wait.
fn pended_irp_forwarded_by_a_dpc(irp: PendedIrp, irql: &mut DispatchLevel) {
    irp.forward(irql); //~ E0277
}

/// A request is completed after it was forwarded, when the lower drivers own it.
fn pended_irp_used_after_it_was_forwarded(irp: PendedIrp, irql: &mut PassiveLevel) {
    irp.forward(irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0382
}

/// A filter takes the power policy from the function driver.
fn power_policy_of_a_filter(device: &mut NewFilter) -> PowerPolicy {
    PowerPolicy::new(device) //~ E0308
}

/// A power reference is given to two requests.
fn power_reference_used_twice<'a, 'b>(
    one: Irp<'a>,
    other: Irp<'b>,
    reference: PowerReference,
) -> (Irp<'a, PowerReference>, Irp<'b, PowerReference>) {
    (one.with_record(reference), other.with_record(reference)) //~ E0382
}

/// A device is powered up under the lock that its power routine acquires.
fn power_up_under_a_spin_lock(policy: &PowerPolicy, lock: &SpinLock<u32, Alone>, irql: &mut DispatchLevel) {
    lock.with(irql, |_, held| {
        let _ = policy.power_up(held); //~ E0277
    });
}
