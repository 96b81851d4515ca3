//! The driver on the model kernel, which stops a test at the first broken rule of the kernel, and at a leak.

use std::sync::Arc;

use ntmodel::{Access, Config, Device, Driver, Kernel, Request, explore};
use wdm::NtStatus;

use {{name}}_logic::{Gate, RELEASE, WAIT};

/// Loads the driver and starts a device.
fn start(kernel: &Arc<Kernel>) -> (Driver, Device) {
    // SAFETY: the entry point is that of a driver on wdm.
    let driver = unsafe { Driver::load(kernel, wdm::entry::<Gate>) }.expect("DriverEntry succeeds");
    let device = driver.add_device().expect("AddDevice succeeds");
    device.start().expect("the device starts");
    (driver, device)
}

/// Returns the number of cancelled requests that a RELEASE reports.
fn cancelled(release: Request) -> u64 {
    let end = release.ended().expect("it does not wait");
    u64::from_ne_bytes(end.output.try_into().expect("a u64"))
}

#[test]
fn request_waits_until_it_is_released_or_cancelled() {
    let kernel = Kernel::new(Config::default());
    let (driver, device) = start(&kernel);
    let file = device.open(Access::ReadWrite).expect("the device opens");

    let [first, second] = [(); 2].map(|()| file.device_control(WAIT, &[], vec![]));
    assert!(second.cancel());
    assert_eq!(second.status(), Some(NtStatus::CANCELLED.to_raw()));
    assert!(!first.is_done());
    assert_eq!(cancelled(file.device_control(RELEASE, &[], vec![0; 8])), 1);
    assert_eq!(first.status(), Some(NtStatus::SUCCESS.to_raw()));

    file.close();
    device.remove().expect("no file is open");
    driver.unload();
}

/// Every order of a cancellation and a release.
#[test]
fn cancellation_against_release() {
    let race = |kernel: &Arc<Kernel>| {
        let (driver, device) = start(kernel);
        let file = device.open(Access::ReadWrite).expect("the device opens");
        let request = Arc::new(file.device_control(WAIT, &[], vec![]));
        let canceller = {
            let request = Arc::clone(&request);
            kernel.actor("canceller", move || request.cancel())
        };
        drop(file.device_control(RELEASE, &[], vec![0; 8]));
        canceller.join();
        let status = request.status().expect("it was cancelled or released");
        assert!(
            [NtStatus::CANCELLED, NtStatus::SUCCESS]
                .map(NtStatus::to_raw)
                .contains(&status)
        );
        drop(request);
        file.close();
        device.remove().expect("no file is open");
        driver.unload();
    };
    explore::check(10_000, race);
}
