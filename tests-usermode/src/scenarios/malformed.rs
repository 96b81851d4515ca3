//! Requests that the driver must refuse.

use fastrand::Rng;

use super::session::{Session, Tally};
use super::{Context, Scenario, Verdict, ensure, scenario};
use crate::fuzz;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[scenario(
    "malformed::random",
    "10,000 random malformed requests are each refused with the exact status, and counted",
    &[],
    random,
)];

/// Random requests that are wrong in one way or in several.
fn random(context: &Context) -> Verdict {
    let session = Session::begin()?;
    let rounds = context.rounds(10_000);
    let mut rng = Rng::with_seed(context.seed);
    for round in 0..rounds {
        let request = fuzz::malformed(&mut rng);
        let end = session
            .device
            .call(request.code, &request.input, request.output_len)?;
        let right =
            end.status == request.expected && end.information == 0 && end.rest_is_untouched();
        ensure(right, || {
            format!(
                "request {round} of --seed {}: {request:02x?}\nended with {}, Information {}, \
                 output {:02x?}",
                context.seed, end.status, end.information, end.output
            )
        })?;
    }
    session.settle(Tally {
        rejected: rounds,
        ..Tally::default()
    })
}
