//! A kernel as a whole: what it is made of, and what is asked of it from outside.

use std::{sync::Arc, time::Duration};

use crate::{
    ex::Ex,
    explore,
    host::{Call, Config, Kernel, thread::Attached, upcalls::Upcalls, wait::Engine},
    io::{self, Io},
    ke::{self, Ke},
    mutex::locked,
    ps::Ps,
    verifier::{BugCheck, Rule},
};

/// What lower folders have higher ones do.
static UPCALLS: Upcalls = Upcalls {
    expire: ke::expire,
    probe_device: Call::probe_device,
    device_queue_entry: Call::note_device_queue,
    list_entry: Call::require_unlinked,
    describe: Kernel::describe,
    holders: Kernel::holders_of_remove_lock,
    end_with: explore::end_with,
    verify_end: io::verify_end,
    hang: io::hang,
};

impl Kernel {
    /// Makes a kernel whose threads are the host's.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Self::with_engine(config, Engine::Host, false)
    }

    pub(crate) fn with_engine(config: Config, engine: Engine, steps: bool) -> Arc<Self> {
        io::watch();
        let ke = Ke::new(config.processors);
        let kernel = Self::of_parts(
            config,
            engine,
            steps,
            &UPCALLS,
            vec![
                Box::new(ke),
                Box::<Io>::default(),
                Box::<Ex>::default(),
                Box::<Ps>::default(),
            ],
        );
        ke::start(&kernel);
        kernel
    }

    fn describe(&self, address: usize) -> Option<String> {
        let block = self.describe_pool_block(address);
        block.or_else(|| self.describe_io_object(address))
    }

    /// What the driver has said to the debugger.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        locked(&self.messages).clone()
    }

    /// Stops the system if a condition of a scenario does not hold, as a broken rule does. An exploration reports it with the
    /// schedule.
    pub fn check(self: &Arc<Self>, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let _attached = Attached::to(self);
            Call::enter("the scenario's check").stop(BugCheck(0, [0; 4]), Rule::Promise, what());
        }
    }

    /// Lets a time pass, by a [virtual](crate::Clock::Virtual) clock: whatever timers expire in it do, and a closed
    /// file whose last request they have ended goes.
    pub fn advance(self: &Arc<Self>, time: Duration) {
        let _attached = Attached::to(self);
        ke::advance(self, time);
        self.close_deferred(&Call::enter("IRP_MJ_CLOSE"));
    }
}
