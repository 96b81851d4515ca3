//! Reinitialize routines, which run after `DriverEntry`.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-a-reinitialize-routine)

use std::{ffi::c_void, sync::Mutex};

use nt::{DRIVER_OBJECT, PDRIVER_REINITIALIZE};

use crate::{host::Call, mutex::locked, verifier::Rule};

/// The routines that are registered and have not run yet.
#[derive(Default)]
pub(crate) struct Reinitialisations(Mutex<Vec<Reinitialisation>>);

struct Reinitialisation {
    driver: usize,
    routine: PDRIVER_REINITIALIZE,
    context: usize,
}

impl Call {
    fn register_reinitialisation(
        &self,
        driver: *mut DRIVER_OBJECT,
        routine: PDRIVER_REINITIALIZE,
        context: *mut c_void,
    ) {
        self.require_at_most(0, Rule::Irql, 0xe5);
        self.require(
            routine.is_some(),
            Rule::Pointer,
            || "the Reinitialize routine is NULL",
        );
        let new = Reinitialisation {
            driver: driver.addr(),
            routine,
            context: context.expose_provenance(),
        };
        locked(&self.kernel.io().reinitialisations.0).push(new);
    }

    /// Calls the routines of a driver whose `DriverEntry` has succeeded. A routine can register itself again.
    pub(in crate::io) fn reinitialise(&self, driver: *mut DRIVER_OBJECT) {
        loop {
            let mut all = locked(&self.kernel.io().reinitialisations.0);
            let place = all.iter().position(|next| next.driver == driver.addr());
            let Some(next) = place.map(|place| all.remove(place)) else {
                return;
            };
            drop(all);
            // SAFETY: DriverEntry has kept the fields of the driver object.
            let extension = unsafe { (*driver).DriverExtension };
            // SAFETY: as above.
            let count = unsafe { &mut (*extension).Count };
            *count += 1;
            let arguments = (
                driver,
                std::ptr::with_exposed_provenance_mut(next.context),
                *count,
            );
            if let Some(routine) = next.routine {
                // SAFETY: the routine is called as the I/O manager calls it.
                unsafe { Call::in_driver(routine, arguments) };
                self.require_returned("the Reinitialize routine", 0);
            }
        }
    }

    /// Removes the routines of a driver whose `DriverEntry` has failed.
    pub(in crate::io) fn forget_reinitialisations(&self, driver: *mut DRIVER_OBJECT) {
        let mut all = locked(&self.kernel.io().reinitialisations.0);
        all.retain(|next| next.driver != driver.addr());
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-ioregisterdriverreinitialization)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterDriverReinitialization(
    driver: *mut DRIVER_OBJECT,
    routine: PDRIVER_REINITIALIZE,
    context: *mut c_void,
) {
    let call = Call::enter("IoRegisterDriverReinitialization");
    call.register_reinitialisation(driver, routine, context);
}

/// The model starts no device before the routine runs: a test adds devices when the driver is loaded.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-ioregisterbootdriverreinitialization)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterBootDriverReinitialization(
    driver: *mut DRIVER_OBJECT,
    routine: PDRIVER_REINITIALIZE,
    context: *mut c_void,
) {
    let call = Call::enter("IoRegisterBootDriverReinitialization");
    call.register_reinitialisation(driver, routine, context);
}
