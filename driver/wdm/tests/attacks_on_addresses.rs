//! Attacks on the lower driver with buffers that it does not expect, although it follows the documentation: with addresses of the sender's
//! process in another one, and with buffered I/O where it has declared direct I/O.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use common::{Quiet, Stack, kernel, load, load_filter};
use nt::{IRP, NTSTATUS, irp};
use ntmodel::Access;
use pinned_init::PinInit;
use raw::Control;
use wdm::{
    CompletionRoutine, ControlCode, Device, Error, Filter, Handled, IoType, Irp, IrpQueue, Lower,
    MajorFunction, NewDevice, NewFilter, PassiveLevel, PendedIrp, Returned, Shared, WorkItem,
    WorkItemRoutine, irql::CallerLevel,
};

/// The methods of forwarding a request, as codes with `METHOD_NEITHER`. The last one is used in the thread of the sender.
const ONE_WAY: u32 = 0x22_2003;
const AND_WAIT: u32 = 0x22_2007;
const AT_ONCE: u32 = 0x22_200b;

/// How many requests the lower driver has received.
static RECEIVED: AtomicU32 = AtomicU32::new(0);

/// The lower driver: reads and writes at the addresses.
struct Probes;

impl Control for Probes {
    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the dispatch routine owns the IRP; so below.
        if unsafe { irp::major_function(irp) } == nt::IRP_MJ_DEVICE_CONTROL {
            RECEIVED.fetch_add(1, SeqCst);
            // SAFETY: as above.
            let input = unsafe { irp::argument4(irp) };
            // SAFETY: as above.
            let output = unsafe { nt::user_buffer(irp) };
            // SAFETY: the addresses are not accessed before they are probed.
            unsafe { nt::ProbeForRead(input, 4, 1) };
            // SAFETY: as above.
            unsafe { nt::ProbeForWrite(output, 4, 1) };
            // SAFETY: both were probed.
            unsafe { output.copy_from_nonoverlapping(input, 4) };
        }
        raw::complete(irp, nt::STATUS_SUCCESS)
    }
}

struct Later(Shared<IrpQueue<Quiet>>);

impl WorkItemRoutine for Later {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        while let Some(irp) = item.0.remove_first(irql) {
            if irp.code() | 3 == AND_WAIT {
                irp.forward_and_wait(irql).complete(irql);
            } else {
                irp.forward(irql);
            }
        }
    }
}

fn later(
    device: &mut NewFilter,
    irql: &mut PassiveLevel,
) -> Result<Shared<WorkItem<Later>>, Error> {
    let queue = IrpQueue::new(Quiet::<false>, device, irql)?;
    WorkItem::new(Ok::<_, Error>(Later(queue)), device, irql)
}

struct Delays(Shared<WorkItem<Later>>);

impl Filter for Delays {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(later(device, irql).map(Self))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        if irp.major() != MajorFunction::DeviceControl || irp.code() == AT_ONCE {
            return irp.forward(irql);
        }
        let handled = self.0.0.insert(irp, irql);
        WorkItem::queue(&self.0, irql);
        handled
    }
}

#[test]
fn a_request_with_addresses_of_its_process_is_not_forwarded_in_another_one() {
    let kernel = kernel();
    let stack = Stack::new(raw::load::<Probes>(&kernel)).filter(load_filter::<Delays>(&kernel));
    let stack = stack.started();
    let file = stack
        .device
        .open_anyway(Access::ReadWrite)
        .expect("it opens");
    for (code, status, output) in [
        (AT_ONCE, nt::STATUS_SUCCESS, [1, 2, 3, 4]),
        (ONE_WAY, nt::STATUS_INVALID_DEVICE_REQUEST, [0; 4]),
        (AND_WAIT, nt::STATUS_INVALID_DEVICE_REQUEST, [0; 4]),
    ] {
        let end = common::end(&file.device_control(code, &[1, 2, 3, 4], vec![0; 4]));
        let answer = (end.status, end.output);
        assert_eq!(answer, (status, output.to_vec()), "{code:#x}");
    }
    assert_eq!(RECEIVED.load(SeqCst), 1);
    file.close();
    stack.unload();
}

/// A lower driver with direct I/O: fills the pages that it gets.
struct FillsPages;

impl Control for FillsPages {
    const IO_TYPE: u32 = nt::DO_DIRECT_IO;

    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the dispatch routine owns the IRP; so below.
        if unsafe { irp::major_function(irp) } == nt::IRP_MJ_READ {
            // SAFETY: as above.
            let mdl = unsafe { irp::mdl(irp) };
            // SAFETY: the read is not empty, so it has an MDL.
            let pages = unsafe { nt::MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority) };
            // SAFETY: the buffer has 4 bytes.
            unsafe { pages.cast::<u32>().write_unaligned(7) };
            // SAFETY: as above.
            unsafe { irp::set_information(irp, 4) };
        }
        raw::complete(irp, nt::STATUS_SUCCESS)
    }
}

/// A function driver that forwards reads: with direct I/O, or with buffered I/O.
struct Forwards<const IS_DIRECT: bool>;

impl<const IS_DIRECT: bool> Device for Forwards<IS_DIRECT> {
    const IO_TYPE: IoType = if IS_DIRECT {
        IoType::Direct
    } else {
        IoType::Buffered
    };

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.forward(irql)
    }
}

/// A lower driver with neither, which says that it has filled the buffer of the requestor.
struct FillsAddress;

impl Control for FillsAddress {
    const IO_TYPE: u32 = 0;

    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the dispatch routine owns the IRP; so below.
        if unsafe { irp::major_function(irp) } == nt::IRP_MJ_READ {
            // SAFETY: as above.
            unsafe { irp::set_information(irp, 4) };
        }
        raw::complete(irp, nt::STATUS_SUCCESS)
    }
}

/// Reads from a lower device through a function driver, and returns the status and the bytes.
fn read_through<L: Control, D: Device>() -> (NTSTATUS, Vec<u8>) {
    let kernel = kernel();
    let stack = Stack::new(raw::load::<L>(&kernel)).function(load::<D>(&kernel));
    let stack = stack.started();
    let file = stack
        .device
        .open_anyway(Access::ReadWrite)
        .expect("it opens");
    let end = common::end(&file.read(0, 4));
    file.close();
    stack.unload();
    (end.status, end.output)
}

#[test]
fn a_buffered_read_is_not_forwarded_to_a_device_with_direct_io() {
    let (status, output) = read_through::<FillsPages, Forwards<true>>();
    assert_eq!((status, output), (0, 7_u32.to_ne_bytes().to_vec()));
    let (status, _) = read_through::<FillsPages, Forwards<false>>();
    assert_eq!(status, nt::STATUS_INVALID_DEVICE_REQUEST);
}

/// The I/O manager would copy its system buffer, to which no driver has written, to the requestor:
/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/using-neither-buffered-nor-direct-i-o>
#[test]
fn a_buffered_read_is_not_forwarded_to_a_device_that_uses_addresses() {
    let (status, _) = read_through::<FillsAddress, Forwards<false>>();
    assert_eq!(status, nt::STATUS_INVALID_DEVICE_REQUEST);
    let (status, _) = read_through::<FillsAddress, Forwards<true>>();
    assert_eq!(status, nt::STATUS_INVALID_DEVICE_REQUEST);
}

/// What the lower driver has found in its input.
static INPUTS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// The output of the lower driver, which is not an address.
const OUTPUT: u64 = 0x1234;

/// A lower driver that uses an address in the input of an internal device control, which only a driver can send.
struct Trusts;

impl Control for Trusts {
    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the dispatch routine owns the IRP; so below.
        let buffer = unsafe { irp::system_buffer(irp) }.cast::<[u8; 8]>();
        // SAFETY: the input and the output have 8 bytes.
        let address = u64::from_le_bytes(unsafe { buffer.read() });
        INPUTS.lock().expect("no panic").push(address);
        // SAFETY: as above.
        unsafe { buffer.write(OUTPUT.to_le_bytes()) };
        // SAFETY: as above.
        unsafe { irp::set_information(irp, 8) };
        raw::complete(irp, nt::STATUS_SUCCESS)
    }
}

type Repeat = Shared<WorkItem<Later>>;

struct Repeats(Repeat);

impl CompletionRoutine for Repeats {
    type Record = Repeat;

    fn run(irp: Returned<PendedIrp<Repeat>>, irql: &mut CallerLevel) {
        match irp.into_irp() {
            Ok(irp) => {
                let (repeat, irp) = irp.take_record();
                repeat.0.insert_pended(irp, irql);
                WorkItem::queue(&repeat, irql);
            }
            Err(irp) => irp.complete(irql),
        }
    }
}

impl Filter for Repeats {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(later(device, irql).map(Self))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        irp.with_record(self.0.clone())
            .forward_with_routine::<Self>(irql)
    }
}

/// A driver above the filter, which sends a device control.
struct Sends(Lower);

impl Filter for Sends {
    fn add(
        device: &mut NewFilter,
        _: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Lower::new(device))))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        // SAFETY: the input has an address that the lower driver does not access.
        let code = unsafe { ControlCode::new(ONE_WAY & !3) };
        let (input, output) = (ADDRESS.to_le_bytes(), &mut [0; 8]);
        let end = self.0.device_control(code, &input, output, None, irql);
        assert_eq!(end, Err(Error::INVALID_DEVICE_REQUEST));
        Ok(())
    }
}

const ADDRESS: u64 = 0xffff_8000_0000_1000;

/// Compares what the lower driver has found in its input since the last call with the address.
fn only_the_address_was_used() {
    let inputs = core::mem::take(&mut *INPUTS.lock().expect("no panic"));
    assert_eq!(inputs, [ADDRESS]);
}

/// The lower driver would use its own output as an address.
#[test]
fn a_request_of_a_driver_is_not_forwarded_again_with_its_output() {
    let kernel = kernel();
    let lower = Stack::new(raw::load::<Trusts>(&kernel));
    let stack = lower.filter(load_filter::<Repeats>(&kernel));
    let stack = stack.filter(load_filter::<Sends>(&kernel)).started();
    only_the_address_was_used();
    for code in [ONE_WAY, AND_WAIT].map(|code| code & !3) {
        let input = ADDRESS.to_le_bytes();
        let sent = stack
            .device
            .internal_device_control(code, &input, vec![0; 8]);
        let status = common::end(&sent).status;
        assert_eq!(status, nt::STATUS_INVALID_DEVICE_REQUEST, "{code:#x}");
        only_the_address_was_used();
    }
    stack.unload();
}
