//! A filter driver that counts what goes through a device.
//!
//! It can be an upper or a lower filter of any device; the INF says which. It forwards every request, and counts opens,
//! transfers, their bytes and what failed. A program gets the counts through a handle of the device, with a device control
//! that the filter completes itself.
//!
//! It corresponds to the sample `general/toaster/filter` of the WDK for Windows Server 2003, which has about 1,000 lines. That
//! one forwards everything and counts nothing. It has a control device, by which a program can reach the filter without an
//! open of the device; `GET_COUNTERS` takes its place here. It prints the name of each PnP request in a checked build. All
//! its handling of PnP requests is in `wdm`.

#![no_std]
#![forbid(unsafe_code)]

use wdm::{
    CompletionObserver, DeviceObject, Error, Filter, Handled, InterlockedLong64, Irp,
    MajorFunction, PassiveLevel, PendedIrp, PinInit, Returned, Shared,
    ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code},
    irql::CallerLevel,
};

/// Returns the counts as four numbers of 64 bits: opens, transfers that succeeded, their bytes, and transfers that failed.
///
/// The function is high, since the device's own driver must not use it.
pub const GET_COUNTERS: u32 = ctl_code(UNKNOWN_DEVICE, 0xfff, Method::Buffered, Access::Any);

/// What goes through the device.
struct Counters {
    opens: InterlockedLong64,
    transfers: InterlockedLong64,
    bytes: InterlockedLong64,
    failed: InterlockedLong64,
}

impl Counters {
    const fn new() -> Self {
        Self {
            opens: InterlockedLong64::new(0),
            transfers: InterlockedLong64::new(0),
            bytes: InterlockedLong64::new(0),
            failed: InterlockedLong64::new(0),
        }
    }
}

/// Counts a transfer that the device's driver has completed.
struct Counting;

impl CompletionObserver for Counting {
    type Record = Shared<Counters>;

    fn run(irp: &Returned<PendedIrp<Shared<Counters>>>, _: &mut CallerLevel) {
        let counters = irp.record();
        if irp.result().is_err() {
            counters.failed.increment();
            return;
        }
        counters.transfers.increment();
        let bytes = i64::try_from(irp.information()).unwrap_or(0);
        counters.bytes.exchange_add(bytes);
    }
}

/// The device.
pub struct Meter(Shared<Counters>);

impl Filter for Meter {
    fn add(
        device: &DeviceObject,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let counters = Shared::new(Counters::new(), device, irql)?;
        Ok(Ok::<_, Error>(Self(counters)))
    }

    fn open_or_close<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.major() != MajorFunction::Create {
            return irp.forward(irql);
        }
        let opened = irp.forward_and_wait(irql);
        if opened.result().is_ok() {
            self.0.opens.increment();
        }
        opened.complete(irql)
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::Read | MajorFunction::Write => {
                let counters = self.0.clone();
                irp.with_record(counters)
                    .forward_with_observer::<Counting>(irql)
            }
            MajorFunction::DeviceControl if irp.code() == GET_COUNTERS => {
                let Counters {
                    opens,
                    transfers,
                    bytes,
                    failed,
                } = &*self.0;
                let counts = [opens, transfers, bytes, failed].map(InterlockedLong64::read);
                irp.complete_with(&counts, irql)
            }
            _ => irp.forward(irql),
        }
    }
}
