//! The control device on the model kernel: its replies, the access check of an open, and the cleanup after a failed step.

#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use interlock_explore::{BuiltDriver, hold};
use interlock_sample_control::{
    ANSWER, Control, IOCTL_BUFFERED, IOCTL_IN_DIRECT, IOCTL_OUT_DIRECT,
};
use nt::{
    STATUS_ACCESS_DENIED, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_NO_SUCH_DEVICE, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};
use ntmodel::{Access, Completion, Config, Driver, Faults, File, Kernel, User};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

const NAME: &str = r"\\.\InterlockControl";

fn load(kernel: &Arc<Kernel>) -> Result<Driver, i32> {
    BuiltDriver::control::<Control>("sample_control").load(kernel)
}

fn open(kernel: &Arc<Kernel>) -> Result<File, i32> {
    kernel.open_device(NAME, Access::ReadWrite, User::Administrator)
}

/// Runs a test with an open file on a kernel whose threads are the host's.
fn with_file(test: impl FnOnce(&Kernel, &File)) {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel).expect("DriverEntry succeeds");
    let file = open(&kernel).expect("the device opens");
    test(&kernel, &file);
    file.close();
    driver.unload();
}

fn exchange(file: &File, code: u32, input: &[u8], output: usize) -> Completion {
    let request = file.device_control(code, input, vec![0xee; output]);
    request.wait(TIMEOUT).expect("the request ends")
}

#[test]
fn text_is_answered() {
    with_file(|_, file| {
        for code in [IOCTL_BUFFERED, IOCTL_OUT_DIRECT] {
            let end = exchange(file, code, b"hello\0", 100);
            let answer = (end.status, end.information);
            assert_eq!(answer, (STATUS_SUCCESS, ANSWER.len()));
            assert_eq!(end.output[..ANSWER.len()], *ANSWER);
            assert_eq!(end.output[ANSWER.len()], 0xee);
        }
    });
}

#[test]
fn answer_is_truncated_to_the_callers_buffer() {
    with_file(|_, file| {
        for code in [IOCTL_BUFFERED, IOCTL_OUT_DIRECT] {
            let end = exchange(file, code, b"hello\0", 4);
            assert_eq!((end.status, end.information), (STATUS_SUCCESS, 4));
            assert_eq!(end.output, ANSWER[..4]);
        }
    });
}

#[test]
fn texts_are_printed_from_the_copy_and_from_the_callers_pages() {
    with_file(|kernel, file| {
        let pages = b"world".to_vec();
        let request = file.device_control(IOCTL_IN_DIRECT, b"hello", pages);
        let end = request.wait(TIMEOUT).expect("the request ends");
        assert_eq!((end.status, end.information), (STATUS_SUCCESS, 0));
        let messages = kernel.messages().concat();
        assert!(messages.contains("control: buffer: hello"), "{messages}");
        assert!(messages.contains("control: pages: world"), "{messages}");
    });
}

#[test]
fn request_without_a_buffer_fails() {
    with_file(|_, file| {
        for code in [IOCTL_BUFFERED, IOCTL_IN_DIRECT, IOCTL_OUT_DIRECT] {
            for (input, output) in [(&b""[..], 100), (b"hello", 0)] {
                let end = exchange(file, code, input, output);
                assert_eq!((end.status, end.information), (STATUS_INVALID_PARAMETER, 0));
            }
        }
    });
}

#[test]
fn other_requests_fail() {
    with_file(|_, file| {
        let status = exchange(file, IOCTL_BUFFERED + 1, b"hello", 4).status;
        assert_eq!(status, STATUS_INVALID_DEVICE_REQUEST);
        let read = file.read(0, 4).wait(TIMEOUT).expect("the read ends");
        assert_eq!(read.status, STATUS_INVALID_DEVICE_REQUEST);
    });
}

#[test]
fn only_administrators_can_open_the_device() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel).expect("DriverEntry succeeds");
    for name in [
        NAME,
        r"\Device\InterlockControl",
        r"\\.\InterlockControl\below",
    ] {
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            let opened = |user| kernel.open_device(name, access, user).map(File::close);
            assert_eq!(opened(User::Ordinary), Err(STATUS_ACCESS_DENIED));
            assert_eq!(opened(User::Administrator), Ok(()));
            assert_eq!(opened(User::System), Ok(()));
        }
    }
    driver.unload();
    assert_eq!(open(&kernel).err(), Some(STATUS_OBJECT_NAME_NOT_FOUND));
}

#[test]
fn driver_is_loaded_again_after_it_was_unloaded() {
    let kernel = Kernel::new(Config::default());
    for _ in 0..2 {
        let driver = load(&kernel).expect("DriverEntry succeeds");
        open(&kernel).expect("the device opens").close();
        driver.unload();
    }
}

/// Every step of `DriverEntry` fails once. After each failure the kernel checks for leaks, and the next load succeeds.
#[test]
fn failed_load_leaves_nothing() {
    let faults = Arc::new(Faults::default());
    let kernel = Kernel::new(Config {
        faults: Some(Arc::clone(&faults)),
        ..Config::default()
    });
    loop {
        faults.arm();
        let loaded = load(&kernel);
        if !faults.disarm() {
            loaded.expect("no step failed").unload();
            break;
        }
        assert!(loaded.is_err());
        load(&kernel).expect("DriverEntry succeeds").unload();
    }
    // The device object, its handle, its DACL, its work item, three blocks of the pool and the symbolic link.
    assert!(faults.failed().len() >= 6, "{:#?}", faults.failed());
}

/// Users open the device while the driver is loaded and unloaded.
fn open_at_any_time(kernel: &Arc<Kernel>) {
    let opens = [User::Ordinary, User::Administrator].map(|user| {
        let users_kernel = Arc::clone(kernel);
        kernel.actor("user", move || {
            let opened = users_kernel.open_device(NAME, Access::Read, user);
            let allowed = match opened.as_ref().err() {
                None => user == User::Administrator,
                Some(&STATUS_ACCESS_DENIED) => user == User::Ordinary,
                Some(error) => {
                    [STATUS_NO_SUCH_DEVICE, STATUS_OBJECT_NAME_NOT_FOUND].contains(error)
                }
            };
            users_kernel.verify(allowed, || format!("{user:?} opens the device: {opened:?}"));
            if let Ok(file) = opened {
                let end = exchange(&file, IOCTL_BUFFERED, b"hello", 1);
                users_kernel.verify(end.status == STATUS_SUCCESS, || format!("{end:?}"));
            }
        })
    });
    let driver = load(kernel).expect("DriverEntry succeeds");
    driver.unload();
    for open in opens {
        open.join();
    }
}

#[test]
fn only_administrators_open_the_device_in_every_order() {
    hold(open_at_any_time);
}
