//! The notifier on the model kernel: its function, and its races in every order.

#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use interlock_explore::{BuiltDriver, actor, hold};
use interlock_sample_event::{IOCTL_NOTIFY, MAX_EVENTS, Notification, Notifier};
use nt::{
    STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_HANDLE, STATUS_PENDING, STATUS_SUCCESS,
};
use ntmodel::{Access, Clock, Config, Driver, File, Kernel, Request, User, UserEvent};
use zerocopy::IntoBytes;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

fn load(kernel: &Arc<Kernel>) -> Driver {
    let notifier = BuiltDriver::control::<Notifier>("sample_event");
    notifier.load(kernel).expect("DriverEntry succeeds")
}

fn open(kernel: &Arc<Kernel>) -> File {
    let opened = kernel.open_device(
        r"\\.\InterlockEvent",
        Access::ReadWrite,
        User::Administrator,
    );
    opened.expect("the device opens")
}

/// Requests a notification: by an event, or by the completion of the request.
fn notify(file: &File, event: Option<&UserEvent>, milliseconds: u64) -> Request {
    let notification = Notification {
        event: event.map_or(0, UserEvent::handle),
        milliseconds,
    };
    file.device_control(IOCTL_NOTIFY, notification.as_bytes(), Vec::new())
}

fn end(request: &Request) -> i32 {
    request.wait(TIMEOUT).expect("the request ends").status
}

/// Runs a test with an open file on a kernel whose threads are the host's.
fn with_file(test: impl FnOnce(&Arc<Kernel>, &File)) {
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        ..Config::default()
    });
    let driver = load(&kernel);
    let file = open(&kernel);
    test(&kernel, &file);
    file.close();
    driver.unload();
}

#[test]
fn request_is_pending_until_its_time() {
    with_file(|_, file| {
        let later = notify(file, None, 2000);
        let sooner = notify(file, None, 1000);
        assert_eq!(sooner.answer(), STATUS_PENDING);
        assert_eq!(end(&sooner), STATUS_SUCCESS);
        assert_eq!(later.status(), None);
        assert_eq!(end(&later), STATUS_SUCCESS);
    });
}

#[test]
fn event_is_set_at_its_time() {
    with_file(|kernel, file| {
        let event = kernel.create_event();
        assert_eq!(end(&notify(file, Some(&event), 1000)), STATUS_SUCCESS);
        assert!(!event.is_set());
        event.wait();
        assert!(event.is_set());
    });
}

#[test]
fn cancelled_request_is_completed() {
    with_file(|_, file| {
        let request = notify(file, None, 1000);
        assert!(request.cancel());
        assert_eq!(request.status(), Some(STATUS_CANCELLED));
    });
}

#[test]
fn closed_handle_ends_its_notifications() {
    with_file(|kernel, file| {
        let other = open(kernel);
        let event = kernel.create_event();
        let request = notify(&other, None, 1000);
        notify(&other, Some(&event), 1000);
        let request_of_file = notify(file, None, 2000);
        other.close();
        assert_eq!(request.status(), Some(STATUS_CANCELLED));
        assert_eq!(end(&request_of_file), STATUS_SUCCESS);
        assert!(!event.is_set());
    });
}

#[test]
fn bad_requests_fail() {
    with_file(|kernel, file| {
        let event = kernel.create_event();
        let handle = event.handle();
        drop(event);
        let input = [handle, 1];
        let request = file.device_control(IOCTL_NOTIFY, input.as_bytes(), Vec::new());
        assert_eq!(request.status(), Some(STATUS_INVALID_HANDLE));
        let request = file.device_control(IOCTL_NOTIFY + 4, input.as_bytes(), Vec::new());
        assert_eq!(request.status(), Some(STATUS_INVALID_DEVICE_REQUEST));
        let request = file.device_control(IOCTL_NOTIFY, &[0; 15], Vec::new());
        assert!(request.status().is_some_and(|status| status < 0));
    });
}

#[test]
fn events_of_a_file_are_bounded() {
    with_file(|kernel, file| {
        let event = kernel.create_event();
        for _ in 0..MAX_EVENTS {
            assert_eq!(end(&notify(file, Some(&event), 1000)), STATUS_SUCCESS);
        }
        let refused = end(&notify(file, Some(&event), 1000));
        assert_eq!(refused, STATUS_INSUFFICIENT_RESOURCES);
        // An event that was set makes room for another.
        event.wait();
        assert_eq!(end(&notify(file, None, 1000)), STATUS_SUCCESS);
        assert_eq!(end(&notify(file, Some(&event), 1000)), STATUS_SUCCESS);
    });
}

#[test]
fn cancel_against_the_timer() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = open(kernel);
        let request = Arc::new(notify(&file, None, 0));
        let canceller = actor(kernel, "canceller", &request, Request::cancel);
        let status = end(&request);
        let allowed = [STATUS_SUCCESS, STATUS_CANCELLED].contains(&status);
        kernel.verify(allowed, || format!("the request ended with {status:#x}"));
        canceller.join();
        file.close();
        driver.unload();
    });
}

#[test]
fn close_against_the_timer_and_another_registration() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = Arc::new(open(kernel));
        let event = Arc::new(kernel.create_event());
        let request = notify(&file, None, 0);
        notify(&file, Some(&event), 0);
        let registrar = {
            let (file, event) = (Arc::clone(&file), Arc::clone(&event));
            kernel.actor("registrar", move || notify(&file, Some(&event), 0).status())
        };
        file.close_handle();
        let status = registrar.join();
        let allowed = [Some(STATUS_SUCCESS), Some(STATUS_INVALID_HANDLE)].contains(&status);
        kernel.verify(allowed, || {
            format!("the registration ended with {status:#x?}")
        });
        end(&request);
        drop(file);
        driver.unload();
    });
}

#[test]
fn event_is_always_set() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = open(kernel);
        let event = Arc::new(kernel.create_event());
        let waiter = actor(kernel, "waiter", &event, UserEvent::wait);
        end(&notify(&file, Some(&event), 0));
        waiter.join();
        file.close();
        driver.unload();
    });
}
