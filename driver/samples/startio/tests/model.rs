//! The sampler on the model kernel: its function, and its races in every order.

#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use interlock_explore::{BuiltDriver, Harness, hold};
use interlock_sample_startio::{INTERVAL, SAMPLE, Sampler};
use nt::{STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{Clock, Config, Kernel, Request};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

const SAMPLER: BuiltDriver = BuiltDriver::device::<Sampler>("sample_startio");

fn end(read: &Request) -> (i32, Vec<u8>) {
    let end = read.wait(TIMEOUT).expect("the read ends");
    (end.status, end.output)
}

fn success() -> (i32, Vec<u8>) {
    (STATUS_SUCCESS, SAMPLE.to_ne_bytes().to_vec())
}

/// Runs a test with the device on a kernel whose threads are the host's.
fn with_sampler(test: impl FnOnce(&Harness)) {
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        ..Config::default()
    });
    let sampler = SAMPLER.start(&kernel);
    test(&sampler);
    sampler.tear_down();
}

#[test]
fn reads_are_served_and_cancelled() {
    with_sampler(|sampler| {
        let file = sampler.open();
        assert_eq!(file.read(0, 3).status(), Some(STATUS_BUFFER_TOO_SMALL));
        let reads = [(); 4].map(|()| file.read(0, 4));
        // The one that is served and one that waits.
        assert!(reads[0].cancel());
        assert!(reads[2].cancel());
        assert_eq!(reads[0].status(), Some(STATUS_CANCELLED));
        assert_eq!(reads[2].status(), Some(STATUS_CANCELLED));
        assert_eq!(end(&reads[1]), success());
        assert_eq!(end(&reads[3]), success());
        let (served, waiting) = (file.read(0, 4), file.read(0, 4));
        drop(file);
        assert_eq!(served.status(), Some(STATUS_CANCELLED));
        assert_eq!(waiting.status(), Some(STATUS_CANCELLED));
    });
}

#[test]
fn each_read_needs_two_polls() {
    with_sampler(|sampler| {
        let begin = sampler.kernel.now();
        let reads = [(); 3].map(|()| sampler.file.read(0, 4));
        for (read, polls) in reads.iter().zip([2, 4, 6]) {
            assert_eq!(end(read), success());
            let now = sampler.kernel.now();
            assert!(now >= begin + polls * INTERVAL, "{now:?}");
            assert!(now < begin + (polls + 1) * INTERVAL, "{now:?}");
        }
    });
}

#[test]
fn next_read_is_started_when_the_served_one_is_cancelled() {
    with_sampler(|sampler| {
        let begin = sampler.kernel.now();
        let reads = [(); 2].map(|()| sampler.file.read(0, 4));
        assert!(reads[0].cancel());
        assert_eq!(end(&reads[1]), success());
        let now = sampler.kernel.now();
        assert!(now < begin + 3 * INTERVAL, "{now:?}");
    });
}

/// Starts the device with two reads, and runs `other` in another thread while they are served.
fn race(
    kernel: &Arc<Kernel>,
    other: impl FnOnce(&Harness, &Arc<Request>) -> ntmodel::explore::Actor<()>,
) -> [(i32, Vec<u8>); 2] {
    let sampler = SAMPLER.start(kernel);
    let first = Arc::new(sampler.file.read(0, 4));
    let actor = other(&sampler, &first);
    let second = sampler.file.read(0, 4);
    let ends = [end(&first), end(&second)];
    actor.join();
    drop((first, second));
    sampler.tear_down();
    ends
}

#[test]
fn cancel_against_the_timer() {
    hold(|kernel| {
        let [first, second] = race(kernel, |sampler, first| {
            sampler.actor("canceller", first, |first| {
                first.cancel();
            })
        });
        assert!(first == success() || first.0 == STATUS_CANCELLED);
        assert_eq!(second, success());
    });
}

#[test]
fn removal_against_the_timer() {
    hold(|kernel| {
        let ends = race(kernel, |sampler, _| sampler.remover());
        // The sample completes a read that it can no longer make cancelable.
        let failed = [STATUS_DELETE_PENDING, STATUS_CANCELLED];
        for end in ends {
            assert!(end == success() || failed.contains(&end.0));
        }
    });
}

#[test]
fn closed_handle_against_the_timer() {
    hold(|kernel| {
        let sampler = SAMPLER.start(kernel);
        let other = sampler.open();
        let reads = [(); 2].map(|()| other.read(0, 4));
        let closer = kernel.actor("closer", move || drop(other));
        // It is served whether or not the others are.
        assert_eq!(end(&sampler.file.read(0, 4)), success());
        for read in &reads {
            let end = end(read);
            assert!(end == success() || end.0 == STATUS_CANCELLED);
        }
        closer.join();
        drop(reads);
        sampler.tear_down();
    });
}
