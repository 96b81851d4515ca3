//! Every scene holds.

use interlock_explore::SCENES;
use ntmodel::explore::{Search, explore};

fn hold(theme: &str) {
    let scenes = SCENES.iter().copied().flatten();
    let mut count = 0;
    for scene in scenes.filter(|scene| scene.name.starts_with(theme)) {
        for search in scene.searches {
            let explored = explore(*search, scene.run);
            let explored = explored.unwrap_or_else(|found| panic!("{}:\n{found}", scene.name));
            let (complete, up_to) = match *search {
                Search::DepthFirst { preemptions, .. } => (preemptions.is_none(), preemptions),
                _ => (false, None),
            };
            let seen = (explored.complete, explored.complete_up_to);
            assert_eq!(seen, (complete, up_to), "{}: {explored:?}", scene.name);
            println!("{} {search}: {explored:?}", scene.name);
        }
        count += 1;
    }
    assert_ne!(count, 0);
}

#[test]
fn those_of_the_irp_queue() {
    hold("queue::");
}

#[test]
fn those_of_the_start_io_queue() {
    hold("start_io::");
}

#[test]
fn those_of_the_whole_device() {
    hold("device::");
}
