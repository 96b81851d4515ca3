//! Chooses the thread for each step of an exploration, by a search or by a schedule that is replayed.

use std::sync::{Arc, Mutex, atomic::Ordering};

use shuttle::scheduler::{Schedule as ShuttleSchedule, Scheduler, Task, TaskId};

use crate::{
    explore::{
        schedule::{Misfit, Schedule},
        search::Shared,
    },
    mutex::locked,
};

/// The maximum number of steps of a schedule that a search chooses. After that the threads take turns, so that a spinning
/// thread cannot keep another from the step that it spins for.
const AS_SEARCHED: usize = 20_000;

/// Records the choices of another scheduler.
pub(crate) struct Recorder<S> {
    pub(crate) scheduler: S,
    pub(crate) shared: Arc<Shared>,
    /// The number of choices in this schedule.
    pub(crate) steps: usize,
}

impl<S> Recorder<S> {
    /// Returns the next thread in round-robin order: the one with the next higher number.
    fn in_turn(runnable: &[&Task], current: Option<TaskId>) -> Option<TaskId> {
        let current = current.map(usize::from);
        let mut tasks = runnable.iter().map(|task| task.id());
        let next = tasks
            .clone()
            .find(|task| Some(usize::from(*task)) > current);
        next.or_else(|| tasks.next())
    }
}

impl<S: Scheduler> Scheduler for Recorder<S> {
    fn new_execution(&mut self) -> Option<ShuttleSchedule> {
        let schedule = self.scheduler.new_execution();
        if schedule.is_none() {
            self.shared.out_of_choices.store(true, Ordering::Relaxed);
            return None;
        }
        self.shared.schedules.fetch_add(1, Ordering::Relaxed);
        locked(&self.shared.taken).clear();
        self.steps = 0;
        schedule
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        self.steps += 1;
        if self.steps > AS_SEARCHED {
            self.shared.cut.store(true, Ordering::Relaxed);
            return Self::in_turn(runnable, current);
        }
        let Some(next) = self.scheduler.next_task(runnable, current, is_yielding) else {
            // A scenario that does not run the same way each time cannot be searched.
            self.shared.cut.store(true, Ordering::Relaxed);
            return None;
        };
        locked(&self.shared.taken).push(next.into());
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        self.scheduler.next_u64()
    }
}

/// Replays a schedule once. After its end, or if the thread in it cannot run, the first thread that can run is chosen.
pub(crate) struct Player {
    pub(crate) schedule: Schedule,
    pub(crate) started: bool,
    pub(crate) played: Arc<Mutex<Played>>,
}

/// The number of steps replayed, and the first step that did not match the schedule.
#[derive(Default)]
pub(crate) struct Played {
    pub(crate) steps: usize,
    pub(crate) misfit: Option<Misfit>,
}

impl Scheduler for Player {
    fn new_execution(&mut self) -> Option<ShuttleSchedule> {
        let first = !std::mem::replace(&mut self.started, true);
        first.then(|| ShuttleSchedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        _current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        let mut played = locked(&self.played);
        let wanted = self.schedule.0.get(played.steps).copied();
        played.steps += 1;
        let is_wanted = |task: &&&Task| Some(usize::from(task.id())) == wanted;
        if let Some(task) = runnable.iter().find(is_wanted) {
            return Some(task.id());
        }
        if let Some(thread) = wanted {
            let step = played.steps;
            played.misfit.get_or_insert_with(|| Misfit::Thread {
                step,
                thread,
                runnable: runnable.iter().map(|task| task.id().into()).collect(),
            });
        }
        runnable.first().map(|task| task.id())
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
