//! Every scene holds.

use interlock_explore::SCENES;
use ntmodel::explore::explore;

#[test]
fn every_scene_holds_in_every_order_that_is_tried() {
    for scene in SCENES.iter().copied().flatten() {
        match explore(scene.search, scene.run) {
            Ok(explored) => println!("{}: {explored:?}", scene.name),
            Err(found) => panic!("{}:\n{found}", scene.name),
        }
    }
}
