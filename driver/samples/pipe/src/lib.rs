//! A pipe: bytes that are written to the device can be read from it in the same order.
//!
//! A read is pending until there are bytes, and returns as many of them as its buffer can hold. A write is
//! pending until there is room, and is completed with the number of bytes that fit, which may be fewer than it has.
//! Pending reads and writes can be cancelled.
//!
//! Every request is queued first; then `Pipe::transfer` serves the queues as far as it can. So a read that
//! arrives while another thread writes is always served: the thread that calls `transfer` last finds both requests.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod ring;

use pinned_init::PinInit;
use wdm::{
    Device, Error, Guid, Handled, Irp, IrpQueue, IrpQueueLock, NewDevice, NtStatus, PassiveLevel,
    PendedIrp, QueueCallbacks, Reply, Shared, SpinLock,
};

use crate::ring::Ring;

/// The size of the pipe in bytes, unless the value `Capacity` in the device's hardware key specifies another size.
pub const CAPACITY: usize = 4096;

/// The class of the lock around the bytes: the queues' locks are acquired under it.
struct RingLock;

wdm::lock_order!(wdm::lock_order::Unlocked => RingLock);
wdm::lock_order!(RingLock => existing IrpQueueLock);

/// The queues' callbacks, which do nothing.
struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();
}

/// A request that was served, to be completed after the release of the lock.
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
    /// Serves pending requests as long as there are bytes or room.
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
        let capacity = device.hardware_key().dword("", "Capacity", irql);
        let ring = Ring::new(capacity.map_or(CAPACITY, |bytes| bytes.max(1) as usize))?;
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
