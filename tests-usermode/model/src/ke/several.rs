//! Waits for several objects.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kewaitformultipleobjects)

use std::{ffi::c_void, ptr::null_mut, sync::atomic::Ordering};

use nt::{
    DISPATCH_LEVEL, KTIMER, KWAIT_BLOCK, MAXIMUM_WAIT_OBJECTS, NTSTATUS, NotificationTimer,
    STATUS_SUCCESS, STATUS_TIMEOUT, THREAD_WAIT_OBJECTS, WaitAll,
};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        layout::{Dispatcher, Mutant},
        thread::Thread,
        wait::Wait,
    },
    ke::mutex::{MUTANT_OBJECT, SEMAPHORE_OBJECT},
    verifier::{BugCheck, Rule},
};

/// `MAXIMUM_WAIT_OBJECTS_EXCEEDED`
const TOO_MANY: u32 = 0xc;

fn address(object: &Dispatcher) -> usize {
    (&raw const *object).addr()
}

impl Dispatcher {
    fn mutant(&self) -> Option<&Mutant> {
        let is_mutant = self.kind.load(Ordering::Relaxed) == MUTANT_OBJECT;
        // SAFETY: an object of this kind is a mutex.
        is_mutant.then(|| unsafe { &*(&raw const *self).cast::<Mutant>() })
    }

    /// Returns whether the thread's wait for the object would be satisfied.
    fn is_signalled(&self, thread: &Thread) -> bool {
        match self.mutant() {
            Some(mutant) => {
                let owner = mutant.owner.load(Ordering::Acquire);
                owner == 0 || owner == u64::from(thread.number)
            }
            None => self.signal.load(Ordering::Acquire) > 0,
        }
    }

    /// Undoes the effect of the satisfied wait on the object.
    fn give_back(&self, thread: &Thread) {
        if let Some(mutant) = self.mutant() {
            if self.signal.fetch_add(1, Ordering::AcqRel) == 0 {
                let mutex = (&raw const *mutant).addr();
                thread.disown(mutex);
                mutant.owner.store(0, Ordering::Release);
            }
        } else if self.kind.load(Ordering::Relaxed) == SEMAPHORE_OBJECT {
            self.signal.fetch_add(1, Ordering::AcqRel);
        } else {
            self.signal.store(1, Ordering::Release);
        }
        thread.kernel.sleepers.wake(Wait::Object(address(self)));
    }
}

/// Satisfies a wait for every object, if they are all signalled.
fn take_all(objects: &[&Dispatcher], thread: &Thread) -> Option<NTSTATUS> {
    let ready = objects.iter().all(|object| object.is_signalled(thread));
    if !ready {
        return None;
    }
    for (place, object) in objects.iter().enumerate() {
        // Another host thread can have satisfied its wait first.
        if object.take(thread).is_none() {
            let taken = objects.iter().take(place);
            taken.for_each(|object| object.give_back(thread));
            return None;
        }
    }
    Some(STATUS_SUCCESS)
}

/// Satisfies a wait for the first object that is signalled.
fn take_any(objects: &[&Dispatcher], thread: &Thread) -> Option<NTSTATUS> {
    let taken = objects
        .iter()
        .position(|object| object.take(thread).is_some());
    taken.and_then(|place| NTSTATUS::try_from(place).ok())
}

impl Call {
    fn wait_for_several(
        &self,
        objects: &[&Dispatcher],
        wait_type: i32,
        timeout: Option<i64>,
    ) -> NTSTATUS {
        let irql = self.irql();
        let highest = if timeout == Some(0) {
            DISPATCH_LEVEL
        } else {
            1
        };
        self.require(irql <= highest, Rule::IrqlKeWaitForMultipleObjects, || {
            let bug_check = BugCheck::verifier(0x3b, [irql.into(), 0, 0]);
            (bug_check, format!("the thread waits at IRQL {irql}"))
        });
        let take = || {
            let touch = |object: &&Dispatcher| footprint::touch(address(object), Access::Exclusive);
            objects.iter().for_each(touch);
            if wait_type == WaitAll {
                take_all(objects, self)
            } else {
                take_any(objects, self)
            }
        };
        let wait = Wait::Several((&raw const *objects).addr());
        let status = match timeout {
            None => self.wait_for(wait, take),
            Some(0) => take().unwrap_or(STATUS_TIMEOUT),
            Some(due) => {
                let mut timer = KTIMER { Reserved: [0; 8] };
                let timer = self.initialise_timer(&raw mut timer, NotificationTimer);
                self.set_timer(timer, due, null_mut());
                let status = self.wait_for(wait, || {
                    footprint::touch(address(&timer.header), Access::Exclusive);
                    let over = || timer.header.take(self).map(|()| STATUS_TIMEOUT);
                    take().or_else(over)
                });
                self.kernel.clock.cancel((&raw const *timer).addr());
                status
            }
        };
        if status != STATUS_TIMEOUT {
            let satisfied = usize::try_from(status).unwrap_or_default();
            let all = wait_type == WaitAll;
            for (place, object) in objects.iter().enumerate() {
                if all || place == satisfied {
                    self.acquire_from(address(object));
                }
            }
        }
        status
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeWaitForMultipleObjects(
    count: u32,
    objects: *mut *mut c_void,
    wait_type: i32,
    _reason: i32,
    mode: i8,
    _alertable: u8,
    timeout: *mut i64,
    blocks: *mut KWAIT_BLOCK,
) -> NTSTATUS {
    let call = Call::enter_noted("KeWaitForMultipleObjects");
    let most = if blocks.is_null() {
        THREAD_WAIT_OBJECTS
    } else {
        MAXIMUM_WAIT_OBJECTS
    };
    call.require(count <= most, Rule::WaitObjects, || {
        let what = format!(
            "the wait is for {count} objects, and may be for {most}; for more than {THREAD_WAIT_OBJECTS} it needs a WaitBlockArray"
        );
        (BugCheck(TOO_MANY, [0; 4]), what)
    });
    // SAFETY: the caller passes an array of this length.
    let objects = unsafe { call.elements(objects, count as usize) };
    let first = objects.first().map_or(0, |object| object.addr());
    call.switch_point(call.routine(), first);
    let view = |object: &*mut c_void| {
        // SAFETY: the caller passes events, timers, mutexes or semaphores.
        let dispatcher = unsafe { call.dispatcher(*object) };
        let is_mutex = dispatcher.kind.load(Ordering::Relaxed) == MUTANT_OBJECT;
        call.require_wait_mode(*object, mode, is_mutex);
        dispatcher
    };
    let objects: Vec<&Dispatcher> = objects.iter().map(view).collect();
    // SAFETY: the caller passes NULL or a time.
    let timeout = unsafe { call.optional(timeout) };
    call.wait_for_several(&objects, wait_type, timeout)
}
