//! Direct I/O: reads, writes and device controls on the sender's own pages, which the sender can change at any time.
//!
//! The expected results are those of Microsoft's "Using Direct I/O" and "Buffer Descriptions for I/O Control Codes".

mod common;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use common::{Controlled, Controls, Place, Stack, place, start};
use ntmodel::{
    Completion, Request,
    explore::{Search, explore},
};
use pinned_init::PinInit;
use wdm::{
    Device, Error, Guid, Handled, IoType, Irp, NewDevice, NtStatus, PassiveLevel, PendedIrp,
    Shared, SpinLock,
    ctl_code::{Access as Right, Method, UNKNOWN_DEVICE, ctl_code},
    irql::CallerLevel,
};

/// Sums the bytes of the buffer, and replies with the sum if it can.
const SUM_IN: u32 = ctl_code(UNKNOWN_DEVICE, 0x800, Method::InDirect, Right::Any);
const SUM_OUT: u32 = ctl_code(UNKNOWN_DEVICE, 0x800, Method::OutDirect, Right::Any);
const SUM_BUFFERED: u32 = ctl_code(UNKNOWN_DEVICE, 0x800, Method::Buffered, Right::Any);
/// `METHOD_NEITHER`, for which `ctl_code` has no value.
const NEITHER: u32 = SUM_BUFFERED | 3;

/// The size of the store.
const SIZE: usize = 40;

/// A store of bytes, whose reads and writes are at an offset.
struct Store(Shared<SpinLock<[u8; SIZE]>>);

impl Store {
    fn sum(irp: &mut Irp<'_>) -> Result<u64, Error> {
        let buffer = irp.user_buffer()?;
        // In pieces at odd offsets, whose words are not aligned.
        let mut sum = 0;
        let mut piece = [0; 9];
        let mut offset = 0;
        while offset < buffer.len() {
            let length = piece.len().min(buffer.len() - offset);
            buffer.copy_to(offset, &mut piece[..length])?;
            sum += piece[..length]
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>();
            offset += length;
        }
        assert_eq!(buffer.copy_to(buffer.len(), &mut []), Ok(()));
        let result = buffer.copy_to(buffer.len(), &mut piece[..1]);
        assert_eq!(result, Err(Error::INVALID_BUFFER_SIZE));
        let result = buffer.copy_to(usize::MAX, &mut piece);
        assert_eq!(result, Err(Error::INVALID_BUFFER_SIZE));
        let result = buffer.read::<u64>(buffer.len());
        assert_eq!(result, Err(Error::INVALID_BUFFER_SIZE));
        let length = buffer.len();
        assert_eq!(buffer.is_empty(), length == 0);
        Ok(sum)
    }
}

impl Device for Store {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    const IO_TYPE: IoType = IoType::Direct;

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let bytes = Shared::new(SpinLock::new([0; SIZE]), device, irql)?;
        Ok(Ok::<_, Error>(Self(bytes)))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        let at = usize::try_from(irp.offset()).unwrap_or(SIZE);
        assert_eq!(irp.input_bytes(), Ok(&[][..]));
        let mut reply = irp.reply();
        self.0.with(irql, |bytes, _| {
            reply.append(bytes.get(at..).unwrap_or_default())
        });
        reply.complete(NtStatus::SUCCESS, irql)
    }

    fn write<'irp>(&self, mut irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        let at = usize::try_from(irp.offset()).unwrap_or(SIZE);
        if irp.input_bytes().is_ok_and(|bytes| !bytes.is_empty()) {
            return irp.complete(Error::INTERNAL_ERROR, irql);
        }
        assert_eq!(irp.output_length(), 0);
        let taken = irp.user_buffer().map(|buffer| {
            self.0.with(irql, |bytes, _| {
                let room = bytes.get_mut(at..).unwrap_or_default();
                let length = room.len().min(buffer.len());
                buffer.copy_to(0, &mut room[..length]).map(|()| length)
            })
        });
        match taken {
            Ok(Ok(length)) => irp.complete_write(length, irql),
            Ok(Err(error)) | Err(error) => irp.complete(error, irql),
        }
    }

    fn device_control<'irp>(
        &self,
        mut irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match Self::sum(&mut irp) {
            Ok(sum) => {
                let copied: u64 = irp.input_bytes().map_or(0, |bytes| bytes.len() as u64);
                irp.complete_with(&[sum, copied], irql)
            }
            Err(error) => irp.complete(error, irql),
        }
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        match irp.input::<u32>() {
            Ok(number) => irp.complete_with(&(number + 1), irql),
            Err(error) => irp.complete(error, irql),
        }
    }

    fn query_information<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let class = irp.information_class();
        irp.complete_with(&class, irql)
    }

    fn set_information<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let known = irp.information_class() == 20 && irp.input_bytes() == Ok(b"position");
        let status = if known {
            NtStatus::SUCCESS
        } else {
            NtStatus::INVALID_INFO_CLASS
        };
        irp.complete(status, irql)
    }
}

fn end(request: &Request) -> Completion {
    request.ended().expect("the request does not pend")
}

fn ended(request: &Request) -> (i32, usize) {
    let end = end(request);
    (end.status, end.information)
}

fn with_file(test: impl FnOnce(&Stack, &ntmodel::File)) {
    let stack = start::<Store>(&common::kernel());
    let file = stack.open();
    test(&stack, &file);
    file.close();
    stack.unload();
}

#[test]
fn read_returns_what_was_written() {
    with_file(|_, file| {
        let bytes: Vec<u8> = (1..=SIZE).map(|byte| byte.to_le_bytes()[0]).collect();
        for length in [0, 1, 7, 8, 9, SIZE] {
            assert_eq!(ended(&file.write(0, &bytes[..length])), (0, length));
            let read = end(&file.read(0, length));
            let answer = (read.information, read.output);
            assert_eq!(answer, (length, bytes[..length].to_vec()));
        }
        // Partly beyond the end, beyond the end, and before the start.
        assert_eq!(ended(&file.write(37, &bytes)), (0, 3));
        let read = end(&file.read(36, 8));
        let answer = (read.information, read.output);
        assert_eq!(answer, (4, vec![37, 1, 2, 3, 0, 0, 0, 0]));
        assert_eq!(ended(&file.read(-1, 8)), (0, 0));
        assert_eq!(ended(&file.write(-1, &bytes)), (0, 0));
    });
}

#[test]
fn device_control_reads_the_users_buffer() {
    with_file(|_, file| {
        for length in [0_u8, 1, 8, 31] {
            let buffer = vec![3; length.into()];
            // The driver cannot write the sum.
            let sent = file.device_control(SUM_IN, b"input", buffer.clone());
            assert_eq!(ended(&sent), (nt::STATUS_INVALID_DEVICE_REQUEST, 0));
            assert_eq!(end(&sent).output, buffer);
            let sent = end(&file.device_control(SUM_OUT, b"input", buffer));
            if length < 16 {
                assert_eq!(sent.status, nt::STATUS_BUFFER_TOO_SMALL);
                continue;
            }
            assert_eq!((sent.status, sent.information), (0, 16));
            assert_eq!(sent.output[..8], (3 * u64::from(length)).to_ne_bytes());
            assert_eq!(sent.output[8..16], 5_u64.to_ne_bytes());
            assert_eq!(sent.output[16..], [3; 15]);
        }
    });
}

#[test]
fn device_control_without_direct_io_has_no_user_buffer() {
    with_file(|_, file| {
        for code in [SUM_BUFFERED, NEITHER] {
            let sent = file.device_control(code, b"input", vec![3; 16]);
            assert_eq!(ended(&sent), (nt::STATUS_INVALID_DEVICE_REQUEST, 0));
        }
    });
}

#[test]
fn internal_device_control_comes_from_another_driver() {
    with_file(|stack, _| {
        let ask = |input: &[u8]| {
            let device = &stack.device;
            device.internal_device_control(SUM_BUFFERED, input, vec![0; 4])
        };
        let sent = end(&ask(&7_u32.to_ne_bytes()));
        let answer = (sent.status, sent.output);
        assert_eq!(answer, (0, 8_u32.to_ne_bytes().to_vec()));
        assert_eq!(ended(&ask(b"?")), (nt::STATUS_INFO_LENGTH_MISMATCH, 0));
    });
}

#[test]
fn information_of_a_file_is_queried_by_class() {
    with_file(|_, file| {
        let asked = end(&file.query_information(5, 4));
        let answer = (asked.status, asked.output);
        assert_eq!(answer, (0, 5_u32.to_ne_bytes().to_vec()));
        let answer = ended(&file.query_information(5, 3));
        assert_eq!(answer, (nt::STATUS_BUFFER_TOO_SMALL, 0));
        assert_eq!(ended(&file.set_information(20, b"position")), (0, 0));
        let answer = ended(&file.set_information(4, b"position")).0;
        assert_eq!(answer, nt::STATUS_INVALID_INFO_CLASS);
    });
}

/// Every mapping fails once, and the driver reports it.
#[test]
fn buffer_that_cannot_be_mapped_is_not_used() {
    let (faults, kernel) = common::kernel_with_faults();
    let stack = start::<Store>(&kernel);
    let file = stack.open();
    let try_each = || {
        [
            ended(&file.write(0, b"bytes")),
            ended(&file.device_control(SUM_OUT, &[], vec![0; 16])),
            ended(&file.read(0, 5)),
        ]
    };
    let refused = nt::STATUS_INSUFFICIENT_RESOURCES;
    let mut seen = Vec::new();
    loop {
        faults.arm();
        let ends = try_each();
        if !faults.disarm() {
            assert_eq!(ends, [(0, 5), (0, 16), (0, 5)]);
            break;
        }
        seen.push(ends);
    }
    assert_eq!(seen[0], [(refused, 0), (0, 16), (0, 5)]);
    assert_eq!(seen[1], [(0, 5), (refused, 0), (0, 5)]);
    // Nothing can be appended to a reply if its buffer cannot be mapped.
    assert_eq!(seen[2], [(0, 5), (0, 16), (0, 0)]);
    file.close();
    stack.unload();
}

/// Keeps a request until the next one, and then returns the first byte of its buffer, read twice.
struct Twice(Place<PendedIrp>);

impl Controls for Twice {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self(place(device, irql)?))
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let Some(mut kept) = self.0.with(irql, |kept, _| kept.take()) else {
            let (irp, pending) = irp.pend_not_cancelable(irql);
            self.0.with(irql, |kept, _| *kept = Some(irp));
            return pending;
        };
        let twice = kept.user_buffer().and_then(|buffer| {
            let first = buffer.read::<u8>(0)?;
            Ok([first, buffer.read::<u8>(0)?])
        });
        kept.complete(NtStatus::SUCCESS, irql);
        match twice {
            Ok(twice) => irp.complete_with(&twice, irql),
            Err(error) => irp.complete(error, irql),
        }
    }
}

/// Two reads of the same bytes can differ: user mode writes before, between or after them.
#[test]
fn user_mode_changes_its_buffer_at_any_time() {
    static SEEN: Mutex<BTreeSet<[u8; 2]>> = Mutex::new(BTreeSet::new());
    let explored = explore(Search::every(10_000), |kernel| {
        common::with_file::<Controlled<Twice>>(kernel, |_, file| {
            let pending = Arc::new(file.device_control(SUM_IN, &[], vec![1; 16]));
            let pending_clone = Arc::clone(&pending);
            let writer = kernel.actor("writer", move || pending_clone.write_buffer(0, &[2]));
            let read = end(&file.device_control(SUM_BUFFERED, &[], vec![0; 2]));
            writer.join();
            let twice = [read.output[0], read.output[1]];
            SEEN.lock().expect("no thread has panicked").insert(twice);
        });
    });
    assert!(explored.unwrap_or_else(|found| panic!("{found}")).complete);
    let seen = SEEN.lock().expect("no thread has panicked");
    assert_eq!(*seen, BTreeSet::from([[1, 1], [1, 2], [2, 2]]));
}
