//! Attacks on the tokens of the IRQL: they are forged, copied, kept or used in another thread.

use core::mem::ManuallyDrop;
use core::pin::Pin;

use wdm::{
    Device, Handled, Irp, IrpView, PassiveLevel, SpinLock, processor, thread,
    irql::{CallerLevel, DispatchLevel, NoSpinLockHeld, SpinLockHeld, Waitable, raise_to_dispatch},
    lock_order::Alone,
};

/// A DPC calls the dispatch routine with the DPC's token.
fn dispatch_routine_called_in_a_dpc<'irp, D: Device>(device: &D, irp: Irp<'irp>, file: &D::File, irql: &mut DispatchLevel) -> Handled<'irp> {
    device.device_control(irp, file, irql) //~ E0308
}

/// The token of `raise_to_dispatch` is returned from its closure.
fn dispatch_token_returned(irql: &mut PassiveLevel) -> &mut DispatchLevel {
    raise_to_dispatch(irql, |irql| irql) //~ lifetime
}

/// The token of a held lock is coerced to a trait object of `NoSpinLockHeld`.
fn held_token_as_a_trait_object(held: &mut SpinLockHeld<Alone>) -> &mut dyn NoSpinLockHeld {
    held //~ E0277
    //~| a spin lock is held here
}

/// The token of a held lock is returned from its closure.
fn held_token_returned(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let _held = lock.with(irql, |_, held| held); //~ lifetime
}

/// The outer token is used while the IRQL is raised.
fn outer_token_under_raise(irql: &mut PassiveLevel) {
    raise_to_dispatch(irql, |_| thread::run(1, irql, &|_, _| ())).ok(); //~ E0501
    //~^ E0500
}

/// The processor number is read with a Cancel routine's token, which does not keep the code on its processor.
fn processor_number_below_dispatch_through_a_caller(irql: &CallerLevel) -> u32 {
    processor::current(irql) //~ E0277
}

/// A token is hidden behind an `impl Trait` type that is `Send`.
fn token_behind_an_opaque_type(irql: &mut PassiveLevel) -> &mut (impl Waitable + Send) { //~ E0277
    irql
}

/// Two closures that are called in turn capture one token.
fn token_borrowed_twice_by_a_closure(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    one.with(irql, |a, _| other.with(irql, |b, _| *a += *b)); //~ E0500
    //~^ E0501
}

/// The constructor of a token is called.
fn token_by_a_constructor() {
    let _ = wdm::PassiveLevel::assume(); //~ E0624
}

/// A token is made by `Default`.
fn token_by_default() {
    let _: wdm::PassiveLevel = Default::default(); //~ E0277
}

/// A token is copied out of its place by `ManuallyDrop`.
fn token_by_manually_drop(irql: &mut PassiveLevel) -> ManuallyDrop<PassiveLevel> {
    ManuallyDrop::new(*irql) //~ E0507
}

/// A token is taken out of its place by `mem::take`.
fn token_by_mem_take(irql: &mut DispatchLevel) -> DispatchLevel {
    core::mem::take(irql) //~ E0277
}

/// A token is cloned to have two.
fn token_cloned(irql: &mut wdm::PassiveLevel) -> (wdm::PassiveLevel, wdm::PassiveLevel) {
    (irql.clone(), irql.clone()) //~ E0599
    //~^ E0599
}

/// A thread gets the token of the thread that started it.
fn token_in_a_threads_closure(lock: &SpinLock<u32>, irql: &mut PassiveLevel, other: &mut PassiveLevel) {
    let _ = thread::run(1, irql, &|_, _| { //~ E0277
        lock.with(other, |value, _| *value += 1);
    });
}

/// A future keeps the token that it was made with.
fn token_kept_in_a_future(irql: &mut PassiveLevel) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move { //~ lifetime
        let _ = thread::run(1, irql, &|_, _| ());
    })
}

/// A token is made to live for ever by a leaked box.
fn token_leaked_by_a_box(irql: &mut PassiveLevel) -> &'static mut &'static mut PassiveLevel {
    Box::leak(Box::new(irql)) //~ lifetime
}

/// A token is moved out of its reference.
fn token_moved_out(irql: &mut wdm::PassiveLevel) -> wdm::PassiveLevel {
    *irql //~ E0507
}

/// A closure for tokens of every lifetime is replaced by one for a single lifetime.
fn token_of_a_closure_of_any_lifetime<'a>(irql: &mut PassiveLevel, f: impl FnOnce(&'a mut DispatchLevel)) {
    raise_to_dispatch(irql, f); //~ E0277
}

/// A token is read from a request's input.
fn token_read_from_an_input(irp: &IrpView) -> Option<PassiveLevel> {
    irp.input().ok() //~ E0277
}

/// A lock contains the token of another thread.
fn tokens_shared_by_a_lock(lock: &SpinLock<Option<&mut PassiveLevel>>, irql: &mut PassiveLevel) {
    let _ = thread::run(2, irql, &|_, irql| lock.with(irql, |token, _| *token = None)); //~ E0277
}
