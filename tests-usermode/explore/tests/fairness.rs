//! `interlock.sys` does not keep a processor at `DISPATCH_LEVEL` for as long as its senders wish: after a number of DPCs in a row the
//! next one has to wait, and the zone's lock is held for a bounded number of blocks.

use std::time::Duration;

use interlock::Interlock;
use interlock_abi::{Pend, Statistics, ioctl, queue};
use interlock_explore::Harness;
use ntmodel::{Clock, Config, File, Kernel, Request};
use zerocopy::FromBytes;

/// The shortest time that a timer has after DPCs in a row, and how many there are.
const PAUSE: Duration = Duration::from_millis(1);
const IN_A_ROW: usize = 32;

/// Loads the driver into a kernel whose clock the scenario advances, and unloads it afterwards.
fn with_device(scenario: impl FnOnce(&Harness)) {
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        ..Config::default()
    });
    Harness::run::<Interlock>(&kernel, scenario);
}

fn pend(file: &File, queue: u32, service_ms: u32) -> Request {
    let request = Pend {
        tag: 1,
        queue,
        service_ms,
        ..Pend::default()
    };
    interlock_explore::pend(file, request)
}

fn ended(requests: &[Request]) -> usize {
    let ended = requests.iter().filter(|request| request.ended().is_some());
    ended.count()
}

fn served(queue: u32) {
    with_device(|Harness { kernel, file, .. }| {
        let first = pend(file, queue, 5);
        let others: Vec<_> = (0..100).map(|_| pend(file, queue, 0)).collect();
        assert_eq!(ended(&others), 0);
        kernel.advance(Duration::from_millis(5));
        assert!(first.ended().is_some());
        assert!((1..=IN_A_ROW).contains(&ended(&others)));
        let mut before = ended(&others);
        while before < others.len() {
            kernel.advance(PAUSE);
            // One was served in this time, and then as many as are served in a row.
            let more = ended(&others) - before;
            assert!((1..=IN_A_ROW + 1).contains(&more), "{more}");
            before += more;
        }
    });
}

#[test]
fn requests_without_a_time_are_served_in_groups() {
    served(queue::KEYED);
    served(queue::SERIAL);
}

#[test]
fn a_long_interlocked_list_is_drained_in_groups() {
    const PER_DPC: usize = 16;
    with_device(|Harness { kernel, file, .. }| {
        let sent = kernel.hold_dpcs(|| {
            let sent = (0..1200).map(|_| pend(file, queue::INTERLOCKED, 0));
            let sent: Vec<_> = sent.collect();
            assert_eq!(ended(&sent), 0);
            sent
        });
        let per_turn = IN_A_ROW * PER_DPC;
        assert_eq!(ended(&sent), per_turn);
        kernel.advance(Duration::ZERO);
        assert_eq!(ended(&sent), per_turn);
        kernel.advance(PAUSE);
        assert_eq!(ended(&sent), 2 * per_turn);
        kernel.advance(PAUSE);
        assert_eq!(ended(&sent), sent.len());
        // The next request is completed immediately.
        assert!(pend(file, queue::INTERLOCKED, 0).ended().is_some());
    });
}

#[test]
fn the_zone_grows_in_steps() {
    with_device(|Harness { file, .. }| {
        let records = || {
            let answer =
                file.device_control(ioctl::GET_STATISTICS, &[], vec![0; size_of::<Statistics>()]);
            let output = answer.ended().expect("it ends").output;
            Statistics::read_from_bytes(&output)
                .expect("its length")
                .records
        };
        let mut sent = Vec::new();
        let mut steps = vec![records()];
        while steps.last().is_some_and(|last| *last < 1024) {
            sent.push(pend(file, queue::FIFO, 0));
            let now = records();
            if steps.last() != Some(&now) {
                steps.push(now);
            }
        }
        // It doubles, but by no more than 256 blocks, each of which is linked while the zone's lock is held.
        assert_eq!(steps, [128, 256, 512, 768, 1024]);
        file.cancel_all();
        assert_eq!(ended(&sent), sent.len());
    });
}
