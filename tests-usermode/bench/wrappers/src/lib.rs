//! One exported function for each wrapper of `wdm` whose machine code is compared with that of C. `wrappers.c` has a
//! function of the same name and purpose for each.
//!
//! The functions have Rust's calling convention, which passes these arguments as C's does: a token is a pointer that
//! nothing reads.

#![no_std]
#![allow(
    clippy::no_mangle_with_rust_abi,
    clippy::must_use_candidate,
    reason = "the functions are compared by name, and not called"
)]

extern crate wdk_panic as _;

use core::cell::Cell;

use interlock_abi::{Pend, Pended, ioctl};
use wdk_alloc::WdkAllocator;
use wdm::{
    CancelSpinLock, EntryId, Error, Handled, InterlockedList, InterlockedLong, InterlockedStack,
    Irp, IrpQueue, IrpView, Node, NtStatus, PassiveLevel, PendedIrp, PoolAllocator, QueueCallbacks,
    SpinLock, ZoneBox, lock_order, lock_order::Unlocked,
};

/// Allocates from the nonpaged pool.
#[global_allocator]
static POOL: PoolAllocator<WdkAllocator> = PoolAllocator(WdkAllocator);

/// The image's entry point, which is not called.
#[unsafe(export_name = "DriverEntry")]
pub extern "C" fn driver_entry() -> i32 {
    0
}

/// The class of a lock under which another is acquired.
pub struct Outer;
/// The class of a lock that is acquired under an outer one.
pub struct Inner;

lock_order!(Unlocked => Outer);
lock_order!(Outer => Inner);

/// The callbacks of a queue whose IRPs need none.
pub struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();
}

/// An item of a list.
pub type Item = ZoneBox<Node<u64>>;

/// Increments a number under a spin lock.
#[unsafe(no_mangle)]
pub fn lock_increment(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |number, _| *number = number.wrapping_add(1));
}

/// Increments a number under each of two nested spin locks.
#[unsafe(no_mangle)]
pub fn nested_locks(
    outer: &SpinLock<u32, Outer>,
    inner: &SpinLock<u32, Inner>,
    irql: &mut PassiveLevel,
) {
    outer.with(irql, |number, held| {
        *number = number.wrapping_add(1);
        let mut other = inner.lock_at_dpc(held);
        *other = other.wrapping_add(1);
    });
}

/// Increments a number under the cancel spin lock.
#[unsafe(no_mangle)]
pub fn cancel_lock(number: &Cell<u32>, irql: &mut PassiveLevel) {
    CancelSpinLock::with(irql, |_| number.set(number.get().wrapping_add(1)));
}

/// Increments a number without a lock.
#[unsafe(no_mangle)]
pub fn interlocked_increment(number: &InterlockedLong) -> i32 {
    number.increment()
}

/// Inserts an item at the tail of an interlocked list.
#[unsafe(no_mangle)]
pub fn list_insert_tail(list: &InterlockedList<Item>, item: Item) -> Option<EntryId> {
    list.insert_tail(item)
}

/// Removes the item at the head of an interlocked list.
#[unsafe(no_mangle)]
pub fn list_remove_head(list: &InterlockedList<Item>) -> Option<Item> {
    list.remove_head()
}

/// Pushes an item on an interlocked stack.
#[unsafe(no_mangle)]
pub fn stack_push(stack: &InterlockedStack<Item>, item: Item) -> Option<EntryId> {
    stack.push(item)
}

/// Pops the item on top of an interlocked stack.
#[unsafe(no_mangle)]
pub fn stack_pop(stack: &InterlockedStack<Item>) -> Option<Item> {
    stack.pop()
}

/// Inserts an IRP into a cancel-safe queue.
#[unsafe(no_mangle)]
pub fn queue_insert<'irp>(
    queue: &IrpQueue<Quiet>,
    irp: Irp<'irp>,
    irql: &mut PassiveLevel,
) -> Handled<'irp> {
    queue.insert(irp, irql)
}

/// Removes the first IRP of a cancel-safe queue.
#[unsafe(no_mangle)]
pub fn queue_remove(queue: &IrpQueue<Quiet>, irql: &mut PassiveLevel) -> Option<PendedIrp> {
    queue.remove_first(irql)
}

/// Completes an IRP.
#[unsafe(no_mangle)]
pub fn complete(irp: PendedIrp, irql: &mut PassiveLevel) {
    irp.complete(NtStatus::SUCCESS, irql);
}

/// Parses a request with an input and an output, and copies the input.
///
/// # Errors
/// The status of the first check that fails.
#[unsafe(no_mangle)]
pub fn parse_input(irp: &IrpView, parsed: &mut Pend) -> Result<(), Error> {
    if irp.code() != ioctl::PEND {
        return Err(Error::INVALID_DEVICE_REQUEST);
    }
    let pend = irp.input_ref::<Pend>()?;
    irp.output::<Pended>()?;
    if pend.reserved != 0 {
        return Err(Error::INVALID_PARAMETER);
    }
    *parsed = *pend;
    Ok(())
}
