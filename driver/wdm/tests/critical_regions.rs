//! A user-mode thread handles a request in a critical region, and so does every thread that accesses a value that can be run down.
//! Otherwise user mode could suspend it, and the removal of the device or another program would wait for it
//! ([Run-Down Protection](https://learn.microsoft.com/windows-hardware/drivers/kernel/run-down-protection)).

mod common;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, Error, FileState, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel, Rundown,
    irql::raise_to_dispatch,
};

/// Leaves and enters a critical region. The model stops a thread that is in none.
fn require_region() {
    // SAFETY: the routines may be called below DISPATCH_LEVEL, and this one calls them in pairs.
    unsafe { nt::KeLeaveCriticalRegion() };
    // SAFETY: as above.
    unsafe { nt::KeEnterCriticalRegion() };
}

/// State of an open file, which is made and dropped in a region.
struct Opened;

impl FileState<Regions> for Opened {
    fn open(_: &Regions, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        require_region();
        Ok(Ok::<_, Error>(Self))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        require_region();
    }
}

#[pin_data]
struct Regions {
    #[pin]
    value: Rundown<u32>,
}

impl Device for Regions {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = Opened;

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(try_pin_init!(Self { value <- Rundown::new(7) }? Error))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        // The PnP manager calls this outside of a region.
        assert_eq!(self.value.access(irql, |_, _| require_region()), Some(()));
        // No APC is delivered at DISPATCH_LEVEL, where the routines must not be called.
        let value = raise_to_dispatch(irql, |irql| self.value.access(irql, |&value, _| value));
        assert_eq!(value, Some(7));
        Ok(())
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        _: &Opened,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        require_region();
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn cleanup(&self, _: &Opened, _: &mut PassiveLevel) {
        require_region();
    }
}

#[test]
fn user_mode_cannot_suspend_a_thread_that_others_wait_for() {
    let kernel = common::kernel();
    let stack = common::start::<Regions>(&kernel);
    let request = stack.open().device_control(0x22_2000, &[], Vec::new());
    assert_eq!(request.status(), Some(nt::STATUS_SUCCESS));
    stack.unload();
}
