//! Depth-first search: the next schedule repeats the last one up to a step, and chooses another thread there.
//!
//! The search determines which threads are tried at a step:
//!
//! * Without reduction: all threads that can run, or as many as a bound on the preemptions permits.
//! * With reduction: one thread at first. When two steps of a schedule are dependent and their order can be reversed, a
//!   thread that leads to the reversed order is added. This is dynamic partial-order reduction with source sets. A thread
//!   that was tried at a step sleeps in the following steps until a step is dependent on the step that it made there. These
//!   are sleep sets. Both are from Abdulla, Aronis, Jonsson and Sagonas, "Optimal dynamic partial order reduction", POPL
//!   2014. So every order is tried, except those that differ only in the order of independent steps from one that is tried.

use shuttle::scheduler::{Schedule as ShuttleSchedule, Scheduler, Task, TaskId};

use crate::host::footprint::{self, Footprint};

/// The orders that the search omits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pruning {
    /// Orders with more preemptions than the bound, if there is one.
    Preemptions(Option<u32>),
    /// Orders that differ only in the order of independent steps. Steps of the driver's and the scenario's code are
    /// dependent on each other, unless their memory is guarded.
    Independent {
        /// Whether the memory is guarded.
        guarded: bool,
    },
}

/// A thread that was tried at a step, and its accesses there.
#[derive(Clone)]
struct TriedThread {
    thread: usize,
    footprint: Footprint,
}

/// A step of the schedule.
struct Level {
    /// The threads that can run.
    runnable: Vec<usize>,
    /// The threads that the search permits.
    permitted: Vec<usize>,
    /// The thread that runs.
    taken: usize,
    /// The threads that are to be tried or were tried.
    chosen: Vec<usize>,
    /// The threads that need not be tried, since the following steps were tried in another order.
    asleep: Vec<TriedThread>,
    /// The accesses of the step, once it is over.
    footprint: Footprint,
    /// The number of steps of each thread that come before the end of this one, in every order that has the same dependent
    /// steps.
    clock: Vec<usize>,
    /// The number of the step among those of its thread, counted from 1.
    number: usize,
    /// The previous step of the same thread, and the step that enabled this one.
    after: [Option<usize>; 2],
    /// Whether the thread yields at the end of the step. It continues after any step of another thread.
    yields: bool,
}

/// The search.
pub(crate) struct DepthFirst {
    pruning: Pruning,
    most: usize,
    schedules: usize,
    levels: Vec<Level>,
    /// The number of steps of the schedule so far.
    steps: usize,
    /// The number of steps that are the same as in the previous schedule.
    repeated: usize,
    preemptions: u32,
    /// Whether the following steps of this schedule were tried in another order.
    is_over: bool,
}

impl DepthFirst {
    pub(crate) fn new(most: usize, pruning: Pruning) -> Self {
        Self {
            pruning,
            most,
            schedules: 0,
            levels: Vec::new(),
            steps: 0,
            repeated: 0,
            preemptions: 0,
            is_over: false,
        }
    }

    fn reduces(&self) -> bool {
        matches!(self.pruning, Pruning::Independent { .. })
    }

    /// Returns to the last step at which another thread is to be tried.
    fn go_back(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            level.asleep.push(TriedThread {
                thread: level.taken,
                footprint: std::mem::take(&mut level.footprint),
            });
            let asleep = &level.asleep;
            let sleeps = |thread: usize| asleep.iter().any(|tried| tried.thread == thread);
            let next = level.chosen.iter().find(|thread| !sleeps(**thread));
            if let Some(next) = next.copied() {
                let step = self.levels.len() - 1;
                let place = self.place(next, step);
                let level = &mut self.levels[step];
                level.taken = next;
                (level.number, level.after) = place;
                self.repeated = step;
                return true;
            }
            self.levels.pop();
        }
        false
    }

    /// Returns the threads that the search permits to run next.
    fn permitted(&self, runnable: &[&Task], current: Option<usize>, yields: bool) -> Vec<usize> {
        let mut threads: Vec<usize> = runnable.iter().map(|task| task.id().into()).collect();
        let continues = current.filter(|current| threads.contains(current));
        match continues {
            // A thread that yields waits for an effect of another thread.
            Some(current) if yields && threads.len() > 1 => {
                threads.retain(|thread| *thread != current);
            }
            Some(current) if self.pruning == Pruning::Preemptions(Some(self.preemptions)) => {
                threads = vec![current];
            }
            _ => {}
        }
        threads
    }

    /// Chooses the thread for a step that no earlier schedule has.
    fn choose(&mut self, runnable: Vec<usize>, permitted: Vec<usize>) -> usize {
        let step = self.steps;
        let asleep = match step.checked_sub(1).map(|before| &self.levels[before]) {
            Some(before) if self.reduces() => {
                let stays = |tried: &&TriedThread| {
                    tried.thread != before.taken
                        && !tried.footprint.conflicts_with_later(&before.footprint)
                };
                before.asleep.iter().filter(stays).cloned().collect()
            }
            _ => Vec::new(),
        };
        let sleeps = |thread: usize| asleep.iter().any(|tried| tried.thread == thread);
        let chosen = if self.reduces() {
            let mut threads = permitted.iter().copied();
            threads
                .find(|thread| !sleeps(*thread))
                .into_iter()
                .collect()
        } else {
            permitted.clone()
        };
        let Some(taken) = chosen.first().copied() else {
            self.is_over = true;
            return permitted[0];
        };
        let (number, after) = self.place(taken, step);
        self.levels.push(Level {
            runnable,
            permitted,
            taken,
            chosen,
            asleep,
            footprint: Footprint::default(),
            clock: Vec::new(),
            number,
            after,
            yields: false,
        });
        taken
    }

    /// Returns the number of a step among those of its thread, and the steps that it comes after: the previous step of the
    /// thread, and the last step before which it could not run, which created or woke the thread.
    fn place(&self, thread: usize, step: usize) -> (usize, [Option<usize>; 2]) {
        if !self.reduces() {
            return (1, [None; 2]);
        }
        let levels = &self.levels[..step];
        let last = levels.iter().rposition(|level| level.taken == thread);
        let could_not = |level: &Level| !level.runnable.contains(&thread);
        let number = last.map_or(0, |last| levels[last].number);
        (number + 1, [last, levels.iter().rposition(could_not)])
    }

    /// Records the accesses of the last step, and their consequences.
    fn end_step(&mut self, yields: bool) {
        let Some(step) = self.steps.checked_sub(1).filter(|_| !self.is_over) else {
            return;
        };
        let [last, _] = self.levels[step].after;
        if yields || last.is_some_and(|last| self.levels[last].yields) {
            footprint::touch_everything();
        }
        self.levels[step].yields = yields;
        let is_same = footprint::end_step(&mut self.levels[step].footprint);
        if step >= self.repeated {
            self.find_races(step);
        } else if !is_same {
            // The objects can have other numbers than before, so the accesses of the sleeping threads cannot be compared
            // with them.
            for level in &mut self.levels[step + 1..] {
                for tried in &mut level.asleep {
                    tried.footprint = Footprint::everything();
                }
            }
        }
    }

    /// Returns whether a step comes before the end of another one in every order.
    fn precedes(&self, earlier: usize, later: usize) -> bool {
        let Level { taken, number, .. } = &self.levels[earlier];
        self.levels[later].clock.get(*taken).copied() >= Some(*number)
    }

    fn join(clock: &mut Vec<usize>, other: &[usize]) {
        if clock.len() < other.len() {
            clock.resize(other.len(), 0);
        }
        for (ours, theirs) in clock.iter_mut().zip(other) {
            *ours = (*ours).max(*theirs);
        }
    }

    /// Finds the steps that the last one is dependent on, and schedules the reversed orders.
    fn find_races(&mut self, step: usize) {
        let Level {
            taken,
            number,
            after,
            ..
        } = self.levels[step];
        let mut clock = vec![0; taken + 1];
        for before in after.into_iter().flatten() {
            Self::join(&mut clock, &self.levels[before].clock);
        }
        let mut races = Vec::new();
        for earlier in (0..step).rev() {
            let level = &self.levels[earlier];
            let is_known = clock.get(level.taken).copied() >= Some(level.number);
            if is_known || !level.footprint.conflicts(&self.levels[step].footprint) {
                continue;
            }
            Self::join(&mut clock, &level.clock);
            if !self.levels[step].footprint.is_last() {
                races.push(earlier);
            }
        }
        clock[taken] = number;
        self.levels[step].clock = clock;
        for earlier in races {
            self.try_reversed(earlier, step);
        }
    }

    /// Schedules an order in which a later step comes before an earlier one.
    fn try_reversed(&mut self, earlier: usize, later: usize) {
        // The threads that can run first, among those that do not need the earlier step.
        let mut first: Vec<usize> = Vec::new();
        let mut before: Vec<usize> = Vec::new();
        for step in earlier + 1..=later {
            if step != later && self.precedes(earlier, step) {
                continue;
            }
            if !before.iter().any(|other| self.precedes(*other, step)) {
                first.push(self.levels[step].taken);
            }
            before.push(step);
        }
        let level = &mut self.levels[earlier];
        let is_tried = first.iter().any(|thread| {
            level.chosen.contains(thread)
                || level.asleep.iter().any(|tried| tried.thread == *thread)
        });
        if is_tried {
            return;
        }
        let can = first.iter().find(|thread| level.permitted.contains(thread));
        match can {
            Some(thread) => level.chosen.push(*thread),
            None => {
                for thread in &level.permitted {
                    if !level.chosen.contains(thread) {
                        level.chosen.push(*thread);
                    }
                }
            }
        }
    }
}

impl Scheduler for DepthFirst {
    fn new_execution(&mut self) -> Option<ShuttleSchedule> {
        if self.reduces() {
            self.end_step(false);
        }
        if self.schedules == self.most || (self.schedules != 0 && !self.go_back()) {
            return None;
        }
        self.schedules += 1;
        self.steps = 0;
        self.preemptions = 0;
        self.is_over = false;
        if let Pruning::Independent { guarded } = self.pruning {
            footprint::begin(guarded);
        }
        Some(ShuttleSchedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let current = current.map(usize::from);
        if self.reduces() {
            self.end_step(is_yielding);
        }
        let next = if self.is_over {
            let continues = |task: &&&Task| !is_yielding && Some(usize::from(task.id())) == current;
            let task = runnable.iter().find(continues).or(runnable.last())?;
            return Some(task.id());
        } else if let Some(level) = self.levels.get(self.steps) {
            level.taken
        } else {
            let permitted = self.permitted(runnable, current, is_yielding);
            let runnable = runnable.iter().map(|task| task.id().into()).collect();
            self.choose(runnable, permitted)
        };
        let can_go_on = runnable
            .iter()
            .any(|task| Some(usize::from(task.id())) == current);
        if can_go_on && !is_yielding && Some(next) != current {
            self.preemptions += 1;
        }
        self.steps += 1;
        let task = runnable.iter().find(|task| usize::from(task.id()) == next);
        task.map(|task| task.id())
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
