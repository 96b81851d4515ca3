//! The threads of a scenario.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use crate::{
    host::{
        Call, Kernel, footprint,
        thread::{Attached, Thread},
        wait::Wait,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// A thread that a scenario has started.
pub struct Actor<T> {
    kernel: Arc<Kernel>,
    outcome: Arc<Outcome<T>>,
}

/// The result of an actor's function, once it has returned.
struct Outcome<T>(Mutex<Option<std::thread::Result<T>>>);

impl<T> Outcome<T> {
    fn wait(self: &Arc<Self>) -> Wait {
        Wait::Actor(Arc::as_ptr(self).addr())
    }
}

impl<T> Actor<T> {
    /// Waits until its function has returned, and returns the result.
    pub fn join(self) -> T {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_noted("a scenario waits for an actor");
        let wait = self.outcome.wait();
        match call.wait_for(wait, || locked(&self.outcome.0).take()) {
            Ok(result) => result,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

impl Kernel {
    /// Stops the system if a condition of a scenario is false, as for a broken rule. An exploration reports it with the
    /// schedule.
    pub fn verify(self: &Arc<Self>, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let _attached = Attached::to(self);
            Call::enter("the scenario's check").stop(BugCheck::NONE, Rule::Promise, what());
        }
    }

    /// Starts a thread that runs a function of a scenario. In an exploration the threads run one at a time.
    pub fn actor<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        part: impl FnOnce() -> T + Send + 'static,
    ) -> Actor<T> {
        let outcome = Arc::new(Outcome(Mutex::new(None)));
        let address = Arc::as_ptr(&outcome).addr();
        footprint::make(address..address + 1);
        let outcome_clone = Arc::clone(&outcome);
        Thread::new(self, name).start(move |kernel| {
            let result = catch_unwind(AssertUnwindSafe(part));
            // The end of the function may have accessed memory without a call of the kernel.
            footprint::touch_memory();
            *locked(&outcome_clone.0) = Some(result);
            kernel.sleepers.wake(outcome_clone.wait());
        });
        Actor {
            kernel: Arc::clone(self),
            outcome,
        }
    }
}
