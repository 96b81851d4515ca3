//! Requests that a driver makes and sends to the device below: their input and output, timeouts, and the removal.

mod common;

use std::{sync::Arc, time::Duration};

use common::kernel;
use ntmodel::{Access, Device as Dev, Driver, File, Kernel, explore};
use pinned_init::PinInit;
use wdm::{
    Device, Error, Filter, Guid, Handled, Irp, IrpQueue, IrpView, Lower, MajorFunction, NewDevice,
    NewFilter, NtStatus, PassiveLevel, QueueCallbacks, Shared,
    irql::{CallerLevel, NoSpinLockHeld},
};

/// Returns each byte of the input, increased by one.
const NEXT: u32 = 0x22_2000;
/// Fails.
const FAIL: u32 = 0x22_2004;
/// Pends until it is cancelled.
const HANG: u32 = 0x22_2008;
/// A code of `METHOD_NEITHER`.
const NEITHER: u32 = 0x22_2003;
/// Sent to the driver above: sends the code that is the input to the driver below.
const ASK: u32 = 0x22_3000;

const SECOND: Duration = Duration::from_secs(1);

struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();

    fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}
}

/// The driver below.
struct Below(Shared<IrpQueue<Quiet>>);

impl Filter for Below {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(IrpQueue::new(Quiet, device, irql)?)))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        if irp.major() != MajorFunction::DeviceControl {
            return irp.forward(irql);
        }
        match irp.code() {
            NEXT => match irp.input::<[u8; 3]>() {
                Ok(input) => irp.complete_with(&input.map(|byte| byte + 1), irql),
                Err(error) => irp.complete(error, irql),
            },
            HANG => self.0.insert(irp, irql),
            _ => irp.complete(Error::DEVICE_BUSY, irql),
        }
    }
}

/// The driver above.
struct Above(Lower);

impl Device for Above {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let lower = Lower::new(device);
        let early = lower.device_control(NEXT, b"abc", &mut [0; 3], None, irql);
        assert_eq!(early, Err(Error::INVALID_DEVICE_REQUEST));
        Ok(Ok::<_, Error>(Self(lower)))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        let mut output = [0; 4];
        let sent = self.0.device_control(NEXT, b"abc", &mut output, None, irql);
        assert_eq!((sent, &output), (Ok(3), b"bcd\0"));
        let short = self
            .0
            .device_control(NEXT, b"abc", &mut [0; 2], Some(SECOND), irql);
        assert_eq!(short, Err(Error::BUFFER_TOO_SMALL));
        let neither = self.0.device_control(NEITHER, &[], &mut [], None, irql);
        assert_eq!(neither, Err(Error::INVALID_DEVICE_REQUEST));
        Ok(())
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let result = irp.input::<u32>().and_then(|code| {
            let timeout = Some(SECOND);
            self.0
                .device_control(code, b"abc", &mut [0; 3], timeout, irql)
        });
        match result {
            Ok(_) => irp.complete(NtStatus::SUCCESS, irql),
            Err(error) => irp.complete(error, irql),
        }
    }
}

struct Stack {
    below: Driver,
    above: Driver,
    device: Dev,
}

impl Stack {
    fn started(kernel: &Arc<Kernel>) -> (Self, File) {
        // SAFETY: the entry points are those of drivers on wdm; so below.
        let below = unsafe { Driver::load(kernel, wdm::filter_entry::<Below>) };
        // SAFETY: as above.
        let above = unsafe { Driver::load(kernel, wdm::entry::<Above>) };
        let (below, above) = (below.expect("DriverEntry"), above.expect("DriverEntry"));
        let device = below.add_device().expect("AddDevice");
        above.add_function(&device).expect("AddDevice");
        device.start().expect("the device starts");
        let file = device.open(Access::ReadWrite).expect("it opens");
        let stack = Self {
            below,
            above,
            device,
        };
        (stack, file)
    }

    fn unload(self) {
        if !self.device.is_removed() {
            self.device.remove().expect("no file is open");
        }
        drop(self.device);
        self.above.unload();
        self.below.unload();
    }
}

fn ask(file: &File, code: u32) -> i32 {
    let sent = file.device_control(ASK, &code.to_ne_bytes(), Vec::new());
    sent.wait(10 * SECOND).expect("it ends").status
}

#[test]
fn request_ends_with_the_status_of_the_driver_below_or_in_time() {
    let (stack, file) = Stack::started(&kernel());
    assert_eq!(ask(&file, NEXT), 0);
    assert_eq!(ask(&file, FAIL), nt::STATUS_DEVICE_BUSY);
    assert_eq!(ask(&file, HANG), nt::STATUS_IO_TIMEOUT);
    file.close();
    stack.unload();
}

fn asked_while_the_device_is_removed(kernel: &Arc<Kernel>, code: u32, expected: i32) {
    let (stack, file) = Stack::started(kernel);
    let file = Arc::new(file);
    let theirs = Arc::clone(&file);
    let asker = kernel.actor("asker", move || ask(&theirs, code));
    stack.device.surprise_remove();
    let status = asker.join();
    let possible = [
        expected,
        nt::STATUS_DELETE_PENDING,
        nt::STATUS_NO_SUCH_DEVICE,
    ];
    assert!(possible.contains(&status), "{status:x}");
    drop(file);
    stack.unload();
}

#[test]
fn request_ends_before_the_device_is_removed() {
    explore::check(500, |kernel| {
        asked_while_the_device_is_removed(kernel, NEXT, 0);
    });
    explore::check(500, |kernel| {
        asked_while_the_device_is_removed(kernel, HANG, nt::STATUS_IO_TIMEOUT);
    });
}
