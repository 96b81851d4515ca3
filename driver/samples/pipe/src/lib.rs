//! A pipe: bytes that are written to the device can be read from it, in the order in which they were written.
//!
//! A read waits until there are bytes, and takes as many as there are and as it has room for. A write waits until there is
//! room, and is completed with the number of bytes that were taken; that may be fewer than it has. Reads and writes that
//! wait can be cancelled.
//!
//! Every request is queued first; then [`Pipe::transfer`] serves the queues as far as it can. So a read that arrives while
//! another thread writes is never left waiting: whichever of the two threads calls `transfer` last finds both.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod ring;

use pinned_init::PinInit;
use wdm::{
    Device, Error, Guid, Handled, Irp, IrpQueue, IrpQueueLock, IrpView, NewDevice, NtStatus,
    PassiveLevel, PendedIrp, QueueCallbacks, Reply, Shared, SpinLock, irql::NoSpinLockHeld,
};

use crate::ring::Ring;

/// How many bytes the pipe holds.
pub const CAPACITY: usize = 4096;

/// The class of the lock around the bytes: the queues' locks are taken while it is held.
struct RingLock;

wdm::lock_order!(wdm::lock_order::Unlocked => RingLock);
wdm::lock_order!(RingLock => existing IrpQueueLock);

/// The queues' callbacks, which have nothing to do.
struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();

    fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}
}

/// A request that was served, to be completed after the lock was released.
enum Served {
    Read(Reply<PendedIrp>),
    Write(PendedIrp, usize),
}

/// The device.
pub struct Pipe {
    bytes: Shared<SpinLock<Ring, RingLock>>,
    reads: Shared<IrpQueue<Quiet>>,
    writes: Shared<IrpQueue<Quiet>>,
}

impl Pipe {
    /// Serves the requests that wait, as far as there are bytes and room.
    fn transfer(&self, irql: &mut PassiveLevel) {
        loop {
            let served = self.bytes.with(irql, |ring, held| {
                if !ring.is_empty()
                    && let Some(read) = self.reads.remove_first(held)
                {
                    let mut reply = read.reply();
                    ring.take(|bytes| reply.append(bytes));
                    return Some(Served::Read(reply));
                }
                if !ring.is_full()
                    && let Some(write) = self.writes.remove_first(held)
                {
                    let count = write.input_bytes().map_or(0, |bytes| ring.put(bytes));
                    return Some(Served::Write(write, count));
                }
                None
            });
            match served {
                Some(Served::Read(reply)) => reply.complete(NtStatus::SUCCESS, irql),
                Some(Served::Write(write, count)) => write.complete_write(count, irql),
                None => return,
            }
        }
    }
}

impl Device for Pipe {
    const INTERFACE: Guid = Guid::new(
        0x6b1f_54c2,
        0x0d0e,
        0x4c52,
        [0x9a, 0x61, 0x2f, 0x7c, 0x51, 0x44, 0x8e, 0x10],
    );

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let ring = Ring::new(CAPACITY)?;
        let bytes = Shared::new(SpinLock::new(ring), device, irql)?;
        let reads = IrpQueue::new(Quiet, device, irql)?;
        let writes = IrpQueue::new(Quiet, device, irql)?;
        Ok(Ok::<_, Error>(Self {
            bytes,
            reads,
            writes,
        }))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        let pending = self.reads.insert(irp, irql);
        self.transfer(irql);
        pending
    }

    fn write<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        let pending = self.writes.insert(irp, irql);
        self.transfer(irql);
        pending
    }
}
