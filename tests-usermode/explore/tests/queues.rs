//! Every test of the queues passes under the orders that it explores.

use interlock_explore::TESTS;
use ntmodel::explore::{Search, explore};

fn pass(prefix: &str) {
    let tests = TESTS.iter().copied().flatten();
    let mut count = 0;
    for test in tests.filter(|test| test.name.starts_with(prefix)) {
        for search in test.searches {
            let explored = explore(*search, test.run);
            let explored = explored.unwrap_or_else(|found| panic!("{}:\n{found}", test.name));
            let (complete, up_to) = match *search {
                Search::Reduced { .. } => (true, None),
                Search::DepthFirst { preemptions, .. } => (preemptions.is_none(), preemptions),
                _ => (false, None),
            };
            let seen = (explored.complete, explored.complete_up_to);
            assert_eq!(seen, (complete, up_to), "{}: {explored:?}", test.name);
            println!("{} {search}: {explored:?}", test.name);
        }
        count += 1;
    }
    assert_ne!(count, 0);
}

#[test]
fn irp_queue_passes() {
    pass("queue::");
}

#[test]
fn start_io_queue_passes() {
    pass("start_io::");
}

#[test]
fn device_passes() {
    pass("device::");
}
