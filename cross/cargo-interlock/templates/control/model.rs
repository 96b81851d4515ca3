//! The driver on the model kernel, which stops a test at the first broken rule of the kernel, and at a leak.

use std::sync::Arc;

use ntmodel::{Access, Config, Driver, File, Kernel, Request, User, explore};
use wdm::{Error, NtStatus};

use {{name}}_logic::{Gate, RELEASE, WAIT};

/// Loads the driver, which makes the device.
fn load(kernel: &Arc<Kernel>) -> Driver {
    // SAFETY: the entry point is that of a driver on wdm.
    unsafe { Driver::load(kernel, wdm::control_entry::<Gate>) }.expect("DriverEntry succeeds")
}

fn open(kernel: &Arc<Kernel>, user: User) -> Result<File, i32> {
    kernel.open_device(r"\\.\{{name}}", Access::ReadWrite, user)
}

/// Returns the number of cancelled requests that a RELEASE reports.
fn cancelled(release: Request) -> u64 {
    let end = release.ended().expect("it does not wait");
    u64::from_ne_bytes(end.output.try_into().expect("a u64"))
}

#[test]
fn administrators_alone_can_open_the_device() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel);
    let opened = |user| open(&kernel, user).map(File::close);
    assert_eq!(opened(User::Administrator), Ok(()));
    assert_eq!(opened(User::Ordinary), Err(Error::ACCESS_DENIED.to_raw()));
    driver.unload();
}

#[test]
fn request_waits_until_it_is_released_or_cancelled() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel);
    let file = open(&kernel, User::Administrator).expect("the device opens");

    let [first, second] = [(); 2].map(|()| file.device_control(WAIT, &[], vec![]));
    assert!(second.cancel());
    assert_eq!(second.status(), Some(NtStatus::CANCELLED.to_raw()));
    assert!(!first.is_done());
    assert_eq!(cancelled(file.device_control(RELEASE, &[], vec![0; 8])), 1);
    assert_eq!(first.status(), Some(NtStatus::SUCCESS.to_raw()));

    file.close();
    driver.unload();
}

/// Every order of a cancellation and a release.
#[test]
fn cancellation_against_release() {
    let race = |kernel: &Arc<Kernel>| {
        let driver = load(kernel);
        let file = open(kernel, User::Administrator).expect("the device opens");
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
        driver.unload();
    };
    explore::check(10_000, race);
}
