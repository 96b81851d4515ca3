use interlock_explore::{SCENES, faults};
use ntmodel::explore::{Search, explore};
#[test]
fn measure() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let most: usize = std::env::var("MOST").ok().and_then(|m| m.parse().ok()).unwrap_or(20000);
    for scene in SCENES.iter().copied().flatten().copied().chain(faults()) {
        if !scene.name.contains(&only) { continue; }
        for (name, search) in [("unreduced", Search::unreduced(most)), ("every", Search::every(most)), ("guarded", Search::guarded(most))] {
            match explore(search, scene.run) {
                Ok(e) => println!("{:40} {name:10} {:7} {} {:?}", scene.name, e.schedules, if e.complete {"complete"} else {""}, e.time),
                Err(f) => println!("{:40} {name:10} {:7} FOUND {:?} {:?}", scene.name, f.schedules, f.violation.rule, f.time),
            }
        }
    }
}
