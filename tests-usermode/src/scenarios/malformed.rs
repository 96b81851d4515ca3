//! Requests that the driver must refuse.

use fastrand::Rng;

use super::{Scenario, Session, Tally};
use crate::error::{Result, ensure};
use crate::fuzz;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "malformed":
    random, [],
        "10,000 random malformed requests are each refused with the exact status, and counted";
};

fn random(session: &Session) -> Result<Tally> {
    let (rounds, seed) = (session.rounds(10_000), session.seed());
    let mut rng = Rng::with_seed(seed);
    for round in 0..rounds {
        let (request, expected) = fuzz::malformed(&mut rng);
        let end = session.device.call(&request)?;
        let right = end.status == expected && end.information == 0 && end.rest_is_untouched();
        ensure(right, || {
            format!(
                "request {round} of --seed {seed}: {request:02x?}\n\
                 must end with {expected}, ended with {}, Information {}, output {:02x?}",
                end.status, end.information, end.output
            )
        })?;
    }
    Ok(Tally::NONE.rejected(rounds))
}
