//! The numbers of devices that legacy drivers have found.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iogetconfigurationinformation)

use std::cell::UnsafeCell;

use nt::CONFIGURATION_INFORMATION;

use crate::host::Call;

/// The structure, which only drivers access.
pub(crate) struct Configuration(Box<UnsafeCell<CONFIGURATION_INFORMATION>>);

// SAFETY: the model only passes on the address.
unsafe impl Send for Configuration {}
// SAFETY: as above.
unsafe impl Sync for Configuration {}

impl Default for Configuration {
    fn default() -> Self {
        Self(Box::new(UnsafeCell::new(CONFIGURATION_INFORMATION {
            DiskCount: 0,
            FloppyCount: 0,
            CdRomCount: 0,
            TapeCount: 0,
            ScsiPortCount: 0,
            SerialCount: 0,
            ParallelCount: 0,
            AtDiskPrimaryAddressClaimed: 0,
            AtDiskSecondaryAddressClaimed: 0,
            Version: 3,
            MediumChangerCount: 0,
        })))
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetConfigurationInformation() -> *mut CONFIGURATION_INFORMATION {
    let call = Call::enter_noted("IoGetConfigurationInformation").at_most(0);
    call.kernel.io().configuration.0.get()
}
