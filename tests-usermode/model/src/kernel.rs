//! The construction of a kernel from its parts, and its public methods.

use std::{sync::Arc, time::Duration};

use crate::{
    ex::Ex,
    explore,
    host::{
        Call, Config, Kernel, Part, Parts, footprint, thread::Attached, upcalls::Upcalls,
        wait::Engine,
    },
    io::{self, Io},
    ke::{self, Ke},
    mutex::locked,
    ps::Ps,
};

/// The routines of higher folders that lower folders call.
static UPCALLS: Upcalls = Upcalls {
    expire: ke::expire,
    probe_device: Call::probe_device,
    device_queue_entry: Call::note_device_queue,
    list_entry: Call::require_unlinked,
    memory_freed: Call::memory_freed,
    in_use: Call::require_no_timer_or_dpc_in,
    waits_at_apc_level: Call::require_event_without_apc,
    describe: Kernel::describe,
    pool_block: Kernel::pool_block,
    is_paged: Kernel::is_paged,
    holders: Kernel::holders_of,
    end_with: explore::end_with,
    verify_end: io::verify_end,
    hang: io::hang,
};

// SAFETY: `parts` puts the parts in this order.
unsafe impl Part for Ke {
    const PLACE: usize = 0;
}

// SAFETY: as above.
unsafe impl Part for Ex {
    const PLACE: usize = 1;
}

// SAFETY: as above.
unsafe impl Part for Ps {
    const PLACE: usize = 2;
}

// SAFETY: as above.
unsafe impl Part for Io {
    const PLACE: usize = 3;
}

fn parts(ke: Ke) -> Parts {
    let (ex, ps, io) = (
        Box::<Ex>::default(),
        Box::<Ps>::default(),
        Box::<Io>::default(),
    );
    [Box::new(ke), ex, ps, io]
}

impl Kernel {
    /// Makes a kernel whose threads are host threads.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Self::with_engine(config, Engine::Host, false)
    }

    pub(crate) fn with_engine(config: Config, engine: Engine, steps: bool) -> Arc<Self> {
        io::watch();
        let ke = Ke::new(config.processors);
        let kernel = Self::of_parts(config, engine, steps, &UPCALLS, parts(ke));
        ke::start(&kernel);
        kernel
    }

    fn describe(&self, address: usize) -> Option<String> {
        let block = self.describe_pool_block(address);
        let object = block.or_else(|| self.describe_io_object(address));
        object.or_else(|| self.describe_handle(address))
    }

    /// Describes the requests that have not ended, and what each thread holds and waits for: the report of a hang, for the message
    /// of a test whose request does not end in time.
    #[must_use]
    pub fn describe_hang(self: &Arc<Self>) -> String {
        (self.upcalls.hang)(self).to_string()
    }

    /// Returns the driver's messages to the debugger.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        footprint::touch_everything();
        locked(&self.messages).clone()
    }

    /// Runs a part of a test while every processor is too busy for DPCs: those that are queued run after it. So many requests can arrive before
    /// the DPC that serves them.
    pub fn hold_dpcs<R>(self: &Arc<Self>, work: impl FnOnce() -> R) -> R {
        let _attached = Attached::to(self);
        ke::dpc::hold_dpcs(self, work)
    }

    /// Advances a [virtual](crate::Clock::Virtual) clock. The timers that are due expire, and `IRP_MJ_CLOSE` is sent
    /// for each closed file whose last request they complete.
    pub fn advance(self: &Arc<Self>, time: Duration) {
        let _attached = Attached::to(self);
        ke::advance(self, time);
        self.close_deferred(&Call::enter("IRP_MJ_CLOSE"));
    }
}
