//! Routines that a driver has registered to be called at an event, and the calls of them that run.

use std::{ops::Range, sync::Mutex};

use crate::{
    host::{Call, footprint, wait::Wait},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The registered routines of one kind.
pub(crate) struct Registrations<R> {
    /// The routine that removes a registration.
    removal: &'static str,
    state: Mutex<State<R>>,
}

struct State<R> {
    all: Vec<Registration<R>>,
    /// The number of the last registration.
    last: usize,
    /// The numbers of the registrations whose routines run, and of the threads that run them.
    running: Vec<(usize, u32)>,
}

/// A registration.
#[derive(Clone, Copy)]
pub(crate) struct Registration<R> {
    /// The number of the registration, which is not zero.
    pub(crate) number: usize,
    pub(crate) routine: R,
    /// The address of the routine, by which the driver can identify the registration instead of the number.
    pub(crate) address: usize,
    /// The context of the routine.
    pub(crate) context: usize,
}

impl<R: Copy> Registrations<R> {
    pub(crate) const fn new(removal: &'static str) -> Self {
        Self {
            removal,
            state: Mutex::new(State {
                all: Vec::new(),
                last: 0,
                running: Vec::new(),
            }),
        }
    }

    fn key(&self) -> usize {
        (&raw const self.state).addr()
    }

    /// Registers a routine; returns the number of the registration.
    pub(crate) fn add(&self, call: &Call, routine: R, address: usize, context: usize) -> usize {
        footprint::touch_everything();
        // The routine observes what the driver did before.
        call.synchronise(self.key());
        let mut state = locked(&self.state);
        state.last += 1;
        let registration = Registration {
            number: state.last,
            routine,
            address,
            context,
        };
        state.all.push(registration);
        registration.number
    }

    /// Returns the registrations.
    pub(crate) fn all(&self) -> Vec<Registration<R>> {
        footprint::touch_everything();
        locked(&self.state).all.clone()
    }

    /// Removes the registration with a number; returns whether there was one.
    pub(crate) fn remove(&self, number: usize) -> bool {
        footprint::touch_everything();
        let mut state = locked(&self.state);
        let before = state.all.len();
        state.all.retain(|other| other.number != number);
        state.all.len() != before
    }

    /// Waits until no other thread runs the routine of a registration.
    pub(crate) fn wait_for_calls(&self, call: &Call, number: usize) {
        call.wait_for(Wait::Callback(self.key()), || {
            let state = locked(&self.state);
            let is_other = |(of, thread): &(usize, u32)| *of == number && *thread != call.number;
            (!state.running.iter().any(is_other)).then_some(())
        });
    }

    /// Returns whether this thread runs the routine of a registration.
    pub(crate) fn runs_here(&self, call: &Call, number: usize) -> bool {
        locked(&self.state).running.contains(&(number, call.number))
    }

    /// Calls each registered routine by a closure.
    pub(crate) fn call_each(&self, call: &Call, run: impl Fn(&Registration<R>)) {
        for registration in self.all() {
            self.call_one(call, registration.number, &run);
        }
    }

    /// Calls the routine of a registration by a closure at the caller's IRQL, if it is still registered.
    pub(crate) fn call_one(&self, call: &Call, number: usize, run: impl Fn(&Registration<R>)) {
        call.switch_point("the system calls a registered routine", self.key());
        footprint::touch_everything();
        let running = (number, call.number);
        let registration = {
            let mut state = locked(&self.state);
            let found = state.all.iter().find(|other| other.number == number);
            let Some(registration) = found.copied() else {
                return;
            };
            state.running.push(running);
            registration
        };
        call.acquire_from(self.key());
        let irql = call.irql();
        run(&registration);
        call.require_returned("a registered routine", irql);
        footprint::touch_everything();
        let mut state = locked(&self.state);
        let place = state.running.iter().position(|other| *other == running);
        place.map(|place| state.running.remove(place));
        drop(state);
        call.kernel.sleepers.wake(Wait::Callback(self.key()));
    }

    /// Waits until no registered routine runs, and stops the system if one is still registered, when its driver is unloaded.
    pub(crate) fn require_none(&self, call: &Call) {
        call.wait_for(Wait::Callback(self.key()), || {
            locked(&self.state).running.is_empty().then_some(())
        });
        let left = locked(&self.state).all.len();
        call.require(left == 0, Rule::Callback, || {
            let what = format!(
                "the driver is unloaded with {left} registered routines, which {} removes",
                self.removal
            );
            (BugCheck(0xce, [0; 4]), what)
        });
    }

    /// Stops the system if memory is freed that contains the context of a registered routine.
    pub(crate) fn require_no_context_in(&self, call: &Call, memory: &Range<usize>) {
        let is_inside = |one: &Registration<R>| memory.contains(&one.context);
        let inside = locked(&self.state)
            .all
            .iter()
            .find(|one| is_inside(one))
            .copied();
        call.require(inside.is_none(), Rule::Callback, || {
            let context = inside.map_or(0, |one| one.context);
            format!(
                "the memory of {context:#x} is freed, which is the context of a registered routine: call {} first",
                self.removal
            )
        });
    }
}
