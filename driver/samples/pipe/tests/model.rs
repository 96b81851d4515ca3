//! The pipe on the model kernel: its function, and its races in every order.

#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use interlock_explore::{BuiltDriver, hold};
use interlock_sample_pipe::{CAPACITY, Pipe};
use nt::{STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS};
use ntmodel::{Config, File, Kernel, Request};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

const PIPE: BuiltDriver = BuiltDriver::device::<Pipe>("sample_pipe");

/// Returns the bytes that a read ended with.
fn bytes(read: &Request) -> Vec<u8> {
    let end = read.wait(TIMEOUT).expect("the read ends");
    assert_eq!(end.status, STATUS_SUCCESS);
    let mut output = end.output;
    output.truncate(end.information);
    output
}

/// Returns how many bytes a write took.
fn count(write: &Request) -> usize {
    let end = write.wait(TIMEOUT).expect("the write ends");
    assert_eq!(end.status, STATUS_SUCCESS);
    end.information
}

/// Runs a test with an open file on a kernel whose threads are the host's.
fn with_file(test: impl FnOnce(&File)) {
    let kernel = Kernel::new(Config::default());
    let pipe = PIPE.start(&kernel);
    test(&pipe.file);
    pipe.tear_down();
}

#[test]
fn bytes_are_read_in_the_order_in_which_they_were_written() {
    with_file(|file| {
        assert_eq!(count(&file.write(0, b"hello, ")), 7);
        assert_eq!(count(&file.write(0, b"world")), 5);
        assert_eq!(bytes(&file.read(0, 5)), b"hello");
        assert_eq!(bytes(&file.read(0, 100)), b", world");
    });
}

#[test]
fn read_waits_for_a_write() {
    with_file(|file| {
        let first = file.read(0, 2);
        let second = file.read(0, 100);
        assert_eq!(first.answer(), STATUS_PENDING);
        assert_eq!(count(&file.write(0, b"abc")), 3);
        assert_eq!(bytes(&first), b"ab");
        assert_eq!(bytes(&second), b"c");
    });
}

#[test]
fn write_waits_for_room() {
    with_file(|file| {
        let full: Vec<_> = (0..CAPACITY).map(|index| index.to_le_bytes()[0]).collect();
        assert_eq!(count(&file.write(0, &full)), CAPACITY);
        let write = file.write(0, b"xyz");
        assert_eq!(write.answer(), STATUS_PENDING);
        assert_eq!(bytes(&file.read(0, 2)), full[..2]);
        assert_eq!(count(&write), 2);
        // The last two bytes are at the start of the buffer: the ring has wrapped.
        let mut rest = full[2..].to_vec();
        rest.extend(b"xy");
        assert_eq!(bytes(&file.read(0, CAPACITY + 1)), rest);
    });
}

#[test]
fn capacity_is_read_from_the_registry() {
    for (value, size) in [(2, 2), (0, 1)] {
        let kernel = Kernel::new(Config {
            hardware_key: vec![("Capacity".into(), value)],
            ..Config::default()
        });
        let pipe = PIPE.start(&kernel);
        assert_eq!(count(&pipe.file.write(0, b"abc")), size);
        assert_eq!(bytes(&pipe.file.read(0, 3)), b"abc"[..size]);
        pipe.tear_down();
    }
}

#[test]
fn write_longer_than_the_capacity_is_partial() {
    with_file(|file| {
        assert_eq!(count(&file.write(0, &[7; CAPACITY + 10])), CAPACITY);
        assert_eq!(bytes(&file.read(0, CAPACITY + 10)), [7; CAPACITY]);
    });
}

#[test]
fn empty_requests_transfer_nothing() {
    with_file(|file| {
        assert_eq!(count(&file.write(0, b"")), 0);
        assert_eq!(count(&file.write(0, b"a")), 1);
        assert_eq!(bytes(&file.read(0, 0)), b"");
        assert_eq!(bytes(&file.read(0, 1)), b"a");
    });
}

#[test]
fn cancelled_read_takes_no_bytes() {
    with_file(|file| {
        let cancelled = file.read(0, 10);
        assert!(cancelled.cancel());
        assert_eq!(cancelled.status(), Some(STATUS_CANCELLED));
        assert_eq!(count(&file.write(0, b"kept")), 4);
        assert_eq!(bytes(&file.read(0, 10)), b"kept");
    });
}

#[test]
fn unsupported_request_is_refused() {
    with_file(|file| {
        for request in [
            file.flush(),
            file.device_control(0x22_2000, &[], Vec::new()),
        ] {
            let status = request.status();
            assert_eq!(status, Some(nt::STATUS_INVALID_DEVICE_REQUEST));
        }
    });
}

#[test]
fn read_against_write() {
    hold(|kernel| {
        let pipe = PIPE.start(kernel);
        let writer = pipe.actor("writer", &pipe.file, |file| count(&file.write(0, b"ab")));
        let read = pipe.file.read(0, 2);
        assert_eq!(writer.join(), 2);
        assert_eq!(bytes(&read), b"ab");
        pipe.tear_down();
    });
}

#[test]
fn cancel_against_write() {
    hold(|kernel| {
        let pipe = PIPE.start(kernel);
        let read = Arc::new(pipe.file.read(0, 2));
        let canceller = pipe.actor("canceller", &read, Request::cancel);
        assert_eq!(count(&pipe.file.write(0, b"ab")), 2);
        canceller.join();
        // The read has returned the bytes, or they are still in the pipe.
        if read.status() == Some(STATUS_CANCELLED) {
            assert_eq!(bytes(&pipe.file.read(0, 2)), b"ab");
        } else {
            assert_eq!(bytes(&read), b"ab");
        }
        pipe.tear_down();
    });
}

#[test]
fn two_writers_and_a_closed_handle() {
    hold(|kernel| {
        let pipe = PIPE.start(kernel);
        let file = &pipe.file;
        let other = pipe.open();
        let read = other.read(0, 1);
        let closer = kernel.actor("closer", move || drop(other));
        let writer = pipe.actor("writer", file, |file| count(&file.write(0, b"a")));
        assert_eq!(count(&file.write(0, b"b")), 1);
        assert_eq!(writer.join(), 1);
        closer.join();
        let end = read
            .wait(TIMEOUT)
            .expect("the read of the closed handle ends");
        let taken = usize::from(end.status == STATUS_SUCCESS);
        assert_eq!(bytes(&file.read(0, 2)).len(), 2 - taken);
        pipe.tear_down();
    });
}
