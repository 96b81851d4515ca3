//! Processors and their DPCs.
//!
//! A thread owns a processor while its IRQL is `DISPATCH_LEVEL` or higher. A DPC is queued on the current processor. It
//! runs in the thread that owns the processor when the thread lowers the IRQL, or immediately if the IRQL is low. On
//! Windows it runs at the same time, and interrupts that thread.

use std::{
    collections::VecDeque,
    ffi::c_void,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use nt::{DISPATCH_LEVEL, KDPC};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
        layout::Dpc,
        thread::Thread,
        wait::Wait,
    },
    ke::threaded_dpc::THREADED_DPC_OBJECT,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `DpcObject` of the kernel's object types.
const DPC_OBJECT: u8 = 0x13;

/// `MediumImportance` and `HighImportance`. A DPC of high importance is inserted at the front of the queue.
const MEDIUM_IMPORTANCE: u8 = 1;
const HIGH_IMPORTANCE: u8 = 2;

/// The processors.
pub(crate) struct Processors {
    /// A bit for each processor that a thread owns.
    taken: AtomicU64,
    queues: Box<[Mutex<DpcQueue>]>,
    /// The number of DPCs on the queues.
    waiting: AtomicUsize,
    /// Whether a DPC has a processor as its target.
    is_target: AtomicBool,
    /// Whether the DPCs stay queued.
    are_held: AtomicBool,
}

/// The DPC queue of a processor.
#[derive(Default)]
struct DpcQueue {
    /// The addresses of the DPCs.
    waiting: VecDeque<usize>,
    running: bool,
    /// The number of DPCs that have run or were removed from the queue, except those that were inserted at the front.
    done: i64,
}

impl DpcQueue {
    fn start_next(&mut self) -> Option<usize> {
        let dpc = self.waiting.pop_front()?;
        self.running = true;
        Some(dpc)
    }

    fn due(&self) -> i64 {
        let waiting = i64::try_from(self.waiting.len()).unwrap_or(i64::MAX);
        self.done + waiting + i64::from(self.running)
    }
}

impl Processors {
    pub(crate) fn new(count: u32) -> Self {
        let count = count.clamp(1, 64);
        Self {
            taken: AtomicU64::new(0),
            queues: (0..count).map(|_| Mutex::default()).collect(),
            waiting: AtomicUsize::new(0),
            is_target: AtomicBool::new(false),
            are_held: AtomicBool::new(false),
        }
    }

    /// Acquires a processor of a thread's affinity: the one that it last owned, if it is free.
    pub(crate) fn claim(&self, thread: &Thread) -> u32 {
        let affinity = match thread.affinity.load(Ordering::Relaxed) {
            0 => u64::MAX >> (64 - self.queues.len()),
            affinity => affinity,
        };
        self.claim_one_of(thread, affinity)
    }

    /// Acquires one of several processors for a thread, which has a bit for each.
    fn claim_one_of(&self, thread: &Thread, all: u64) -> u32 {
        let last = 1_u64 << thread.processor();
        let bit = thread.wait_for(Wait::Processor(self.key()), || {
            self.touch(&thread.kernel);
            let mut taken = self.taken.load(Ordering::Relaxed);
            loop {
                let free = !taken & all;
                if free == 0 {
                    return None;
                }
                let bit = if free & last != 0 {
                    last
                } else {
                    free & free.wrapping_neg()
                };
                let order = (Ordering::Acquire, Ordering::Relaxed);
                match self
                    .taken
                    .compare_exchange_weak(taken, taken | bit, order.0, order.1)
                {
                    Ok(_) => return Some(bit),
                    Err(now) => taken = now,
                }
            }
        });
        bit.trailing_zeros()
    }

    /// Records that a step acquires or releases a processor or reads its DPCs. The order of two such steps matters only if a thread
    /// may have to wait for a processor, or another thread queues DPCs on it.
    fn touch(&self, kernel: &Kernel) {
        let any_affinity = kernel.ke().any_affinity.load(Ordering::Relaxed);
        let is_full = kernel.threads_so_far() as usize > self.queues.len();
        let access = if any_affinity || is_full || self.is_target.load(Ordering::Relaxed) {
            Access::Exclusive
        } else {
            Access::Commuting
        };
        footprint::touch(self.key(), access);
    }

    pub(crate) fn release(&self, kernel: &Kernel, processor: u32) {
        self.touch(kernel);
        self.taken.fetch_and(!(1 << processor), Ordering::Release);
        kernel.sleepers.wake(Wait::Processor(self.key()));
    }

    fn key(&self) -> usize {
        (&raw const self.taken).addr()
    }

    /// Returns the address whose change wakes a thread that waits for DPCs.
    fn dpcs(&self) -> usize {
        (&raw const self.waiting).addr()
    }

    fn queue(&self, processor: u32) -> &Mutex<DpcQueue> {
        &self.queues[processor as usize]
    }

    /// Returns a queued DPC whose memory is in a range.
    pub(crate) fn any_queued_in(&self, range: &Range<usize>) -> Option<usize> {
        let mut queues = self.queues.iter();
        queues.find_map(|queue| {
            let queue = locked(queue);
            let mut waiting = queue.waiting.iter().copied();
            waiting.find(|dpc| range.contains(dpc))
        })
    }

    /// Returns the number of queued DPCs.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns whether a DPC is queued on any processor.
    pub(crate) fn any_queued(&self) -> bool {
        let mut queues = self.queues.iter();
        queues.any(|queue| {
            let queue = locked(queue);
            queue.due() != queue.done
        })
    }
}

/// Keeps DPCs queued until `work` has returned, and then runs them.
pub(crate) fn hold_dpcs<R>(kernel: &Arc<Kernel>, work: impl FnOnce() -> R) -> R {
    let processors = &kernel.ke().processors;
    processors.are_held.store(true, Ordering::Relaxed);
    let result = work();
    processors.are_held.store(false, Ordering::Relaxed);
    let call = Call::enter("DPCs that were held");
    for processor in (0..).take(processors.queues.len()) {
        call.run_dpcs_of(processor);
    }
    result
}

impl Call {
    /// Runs the DPCs that are queued on this thread's processor. The IRQL is `DISPATCH_LEVEL`, and no lock is held.
    pub(crate) fn run_dpcs(&self) {
        let processors = &self.kernel.ke().processors;
        processors.touch(&self.kernel);
        // Only a thread that owns the processor queues a DPC on it, and counts it before it releases the processor, unless the processor is
        // the DPC's target.
        if processors.waiting() == 0 || processors.are_held.load(Ordering::Relaxed) {
            return;
        }
        let queue = processors.queue(self.processor());
        loop {
            let next = locked(queue).waiting.front().copied();
            let Some(next) = next else {
                return;
            };
            // A thread on another processor can run before the DPC.
            self.switch_point("a DPC runs", next);
            processors.touch(&self.kernel);
            let Some(dpc) = locked(queue).start_next() else {
                continue;
            };
            processors.waiting.fetch_sub(1, Ordering::Relaxed);
            self.run_dpc(std::ptr::with_exposed_provenance_mut(dpc));
            let mut queue = locked(queue);
            queue.running = false;
            queue.done += 1;
            drop(queue);
            self.kernel.sleepers.wake(Wait::Dpcs(processors.dpcs()));
        }
    }

    fn run_dpc(&self, dpc: *mut KDPC) {
        // SAFETY: a queued DPC is valid: it was initialised, and the driver keeps its memory until it has run.
        let object = unsafe { self.view::<Dpc, _>(dpc) };
        let routine = object.routine.get();
        let (context, first, second) = (
            object.context.get(),
            object.argument1.get(),
            object.argument2.get(),
        );
        let is_threaded = object.kind.get() == THREADED_DPC_OBJECT;
        footprint::touch(dpc.addr(), Access::Exclusive);
        // From here on it can be queued again.
        object.queued_on.store(0, Ordering::Release);
        let Some(routine) = routine else {
            let bug_check = BugCheck(0xc7, [1, dpc.addr() as u64, 0, 0]);
            let what = format!("the DPC {dpc:?} has no routine");
            self.stop(bug_check, Rule::Dpc, what);
        };
        self.in_dpc.store(true, Ordering::Relaxed);
        self.in_threaded_dpc.store(is_threaded, Ordering::Relaxed);
        self.acquire_from(dpc.addr());
        let serving = self.serving.take();
        // SAFETY: the routine is called as the kernel calls it: at DISPATCH_LEVEL, with what it was initialised with.
        unsafe { Call::in_driver(routine, (dpc, context, first, second)) };
        self.serving.set(serving);
        self.in_dpc.store(false, Ordering::Relaxed);
        self.in_threaded_dpc.store(false, Ordering::Relaxed);
        self.require_returned("a DPC routine", DISPATCH_LEVEL);
    }

    /// Stops the system if a routine of the driver has returned at another IRQL, or with a lock held.
    pub(crate) fn require_returned(&self, routine: &str, irql: u8) {
        self.spinning.is_over();
        let held = self.held.innermost(|held| (held.rule(), held.to_string()));
        if let Some((rule, held)) = held {
            let bug_check = BugCheck::verifier(0x2_001d, [self.irql().into(), irql.into(), 0]);
            let what = format!("{routine} has returned and holds {held}");
            self.stop(bug_check, rule, what);
        }
        let now = self.irql();
        self.require(now == irql, Rule::IrqlReturn, || {
            let what = format!("{routine} was called at IRQL {irql} and has returned at {now}");
            (
                BugCheck::verifier(0x2_001d, [now.into(), irql.into(), 0]),
                what,
            )
        });
    }

    /// Queues a DPC on the processor that it has as its target, or else on this thread's. The IRQL is at least `DISPATCH_LEVEL`; the DPC runs when it falls.
    pub(crate) fn queue_dpc(
        &self,
        dpc: *mut KDPC,
        first: *mut c_void,
        second: *mut c_void,
    ) -> bool {
        let (queued, elsewhere) = self.insert_dpc(self.processor(), dpc, first, second);
        if let Some(processor) = elsewhere {
            self.interrupt(processor);
        }
        queued
    }

    /// Returns the processor that the next thread will have.
    pub(in crate::ke) fn next_processor(&self) -> u32 {
        self.kernel.threads_so_far() % self.kernel.config.processors.clamp(1, 64)
    }

    /// Queues a DPC on the processor that it has as its target, or else on another one. Returns whether it was queued, and the processor to
    /// interrupt if it is not this thread's.
    pub(in crate::ke) fn insert_dpc(
        &self,
        other: u32,
        dpc: *mut KDPC,
        first: *mut c_void,
        second: *mut c_void,
    ) -> (bool, Option<u32>) {
        // SAFETY: the caller passes a DPC that was initialised and stays valid until it has run.
        let object = unsafe { self.view::<Dpc, _>(dpc) };
        let is_dpc = [DPC_OBJECT, THREADED_DPC_OBJECT].contains(&object.kind.get());
        self.require(is_dpc, Rule::Dpc, || {
            let bug_check = BugCheck(0xc7, [1, dpc.addr() as u64, 0, 0]);
            (bug_check, format!("the DPC {dpc:?} was not initialised"))
        });
        self.synchronise(dpc.addr());
        let own = self.processor();
        let processor = object.target().unwrap_or(other);
        let access = if processor == own {
            Access::Commuting
        } else {
            Access::Exclusive
        };
        let processors = &self.kernel.ke().processors;
        footprint::touch(processors.dpcs(), access);
        if processor != own {
            footprint::touch(processors.key(), Access::Exclusive);
        }
        let number = processor as usize + 1;
        // With the mutex locked, so that a thread that sees the DPC marked as queued also finds it on the queue.
        let mut queue = locked(self.kernel.ke().processors.queue(processor));
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let queued = object
            .queued_on
            .compare_exchange(0, number, order.0, order.1)
            .is_ok();
        if queued {
            object.argument1.set(first);
            object.argument2.set(second);
            if object.importance.get() == HIGH_IMPORTANCE {
                queue.waiting.push_front(dpc.expose_provenance());
                // A thread that waits for the DPCs already on the queue must not wait for this one instead.
                queue.done -= 1;
            } else {
                queue.waiting.push_back(dpc.expose_provenance());
            }
            self.kernel
                .ke()
                .processors
                .waiting
                .fetch_add(1, Ordering::Relaxed);
        }
        drop(queue);
        (queued, (queued && processor != own).then_some(processor))
    }

    /// Starts a thread that runs the DPCs of another processor.
    pub(in crate::ke) fn interrupt(&self, processor: u32) {
        let interrupt = Thread::new_system(&self.kernel, "interrupt of another processor");
        interrupt.start(move |_| Call::enter_noted("an interrupt").run_dpcs_of(processor));
    }

    /// Runs the DPCs of another processor, as soon as no thread owns it.
    fn run_dpcs_of(&self, processor: u32) {
        let claimed = self
            .kernel
            .ke()
            .processors
            .claim_one_of(self, 1 << processor);
        self.set_processor(claimed);
        self.set_irql(DISPATCH_LEVEL);
        self.lower_irql(0);
    }

    fn remove_dpc(&self, dpc: *mut KDPC) -> bool {
        // SAFETY: the caller passes a DPC that was initialised.
        let object = unsafe { self.view::<Dpc, _>(dpc) };
        let processors = &self.kernel.ke().processors;
        let number = object.queued_on.load(Ordering::Acquire);
        let Some(queue) = number
            .checked_sub(1)
            .and_then(|number| processors.queues.get(number))
        else {
            return false;
        };
        let mut queue = locked(queue);
        let Some(place) = queue
            .waiting
            .iter()
            .position(|queued| *queued == dpc.addr())
        else {
            return false;
        };
        queue.waiting.remove(place);
        processors.waiting.fetch_sub(1, Ordering::Relaxed);
        queue.done += 1;
        object.queued_on.store(0, Ordering::Release);
        drop(queue);
        self.kernel.sleepers.wake(Wait::Dpcs(processors.dpcs()));
        true
    }
}

impl Call {
    /// Stops the system if memory that is freed contains a timer that is set or a DPC that is queued.
    pub(crate) fn verify_memory_is_unused(&self, start: usize, size: usize) {
        let range = start..start + size;
        footprint::free(range.clone());
        self.kernel.ke().lock_order.forget_in(&range);
        self.require_no_bug_check_record_in(range.clone());
        self.require_no_timer_or_dpc_in(&range, "is freed");
        let sleeps = self.kernel.sleepers.any_asleep();
        let waited_for = sleeps.then(|| self.kernel.any_waited_for_in(&range));
        if let Some((thread, object)) = waited_for.flatten() {
            let what =
                format!("{thread} waits for the object {object:#x}, but its memory is freed");
            let bug_check = BugCheck(0xd5, [object as u64, 0, 0, 0]);
            self.stop(bug_check, Rule::SystemThread, what);
        }
    }

    /// Stops the system if memory that is no longer the driver's contains a timer that is set or a DPC that is queued.
    pub(crate) fn require_no_timer_or_dpc_in(&self, range: &Range<usize>, end: &str) {
        if let Some(timer) = self.kernel.clock.any_set_in(range) {
            let bug_check = BugCheck::verifier(0x15, [timer as u64, 0, range.start as u64]);
            let what = format!("the timer {timer:#x} is set, but its memory {end}");
            self.stop(bug_check, Rule::Dpc, what);
        }
        let processors = &self.kernel.ke().processors;
        let is_queued = processors.waiting() != 0;
        let queued = is_queued.then(|| processors.any_queued_in(range));
        if let Some(dpc) = queued.flatten() {
            let parameters = [1, dpc as u64, range.start as u64, range.len() as u64];
            let what = format!("the DPC {dpc:#x} is queued, but its memory {end}");
            self.stop(BugCheck(0xc7, parameters), Rule::Dpc, what);
        }
    }

    /// Waits until the DPCs that are queued have run.
    pub(crate) fn flush_dpcs(&self) {
        let processors = &self.kernel.ke().processors;
        for queue in &processors.queues {
            let due = locked(queue).due();
            self.wait_for(Wait::Dpcs(processors.dpcs()), || {
                (locked(queue).done >= due).then_some(())
            });
        }
    }

    /// Stops the system if a DPC is queued when its driver is unloaded, after those that the Unload routine has left have run.
    pub(crate) fn require_no_dpc(&self) {
        let any = self.kernel.ke().processors.any_queued();
        self.require(!any, Rule::Dpc, || {
            let what = "the driver is unloaded while one of its DPCs is queued or runs, which another DPC or a timer has queued";
            (BugCheck(0xce, [0; 4]), what)
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeDpc(
    dpc: *mut KDPC,
    routine: nt::PKDEFERRED_ROUTINE,
    context: *mut c_void,
) {
    let call = Call::enter_noted("KeInitializeDpc");
    footprint::initialise(dpc);
    call.note_initialised(dpc);
    let range = dpc.addr()..dpc.addr() + 1;
    let queued = call.kernel.ke().processors.waiting() != 0
        && call.kernel.ke().processors.any_queued_in(&range).is_some();
    call.require(!queued, Rule::Dpc, || {
        let bug_check = BugCheck(0xc7, [1, dpc.addr() as u64, 0, 0]);
        let what = format!("the DPC {dpc:?} is initialised again while it is queued");
        (bug_check, what)
    });
    call.require_room(dpc);
    // SAFETY: the caller passes memory for a DPC.
    unsafe { dpc.write(KDPC { Reserved: [0; 8] }) };
    // SAFETY: as above, and zero is valid for every field.
    let object = unsafe { &*dpc.cast::<Dpc>() };
    object.kind.set(DPC_OBJECT);
    object.importance.set(MEDIUM_IMPORTANCE);
    object.routine.set(routine);
    object.context.set(context);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInsertQueueDpc(dpc: *mut KDPC, first: *mut c_void, second: *mut c_void) -> u8 {
    let call = Call::enter_visible("KeInsertQueueDpc", dpc);
    // Any IRQL is allowed.
    let is_low = call.irql() < DISPATCH_LEVEL;
    let old_irql = is_low.then(|| call.raise_irql(DISPATCH_LEVEL));
    let queued = call.queue_dpc(dpc, first, second);
    if let Some(old_irql) = old_irql {
        call.lower_irql(old_irql);
    }
    u8::from(queued)
}

impl Dpc {
    /// Returns the processor that the DPC must run on.
    fn target(&self) -> Option<u32> {
        u32::from(self.number.get()).checked_sub(1)
    }
}

/// Sets the processor on which a DPC runs; returns whether there is such a processor.
fn set_target(call: &Call, dpc: *mut KDPC, processor: u32) -> bool {
    // SAFETY: the caller gives a DPC that was initialised.
    let object = unsafe { call.view::<Dpc, _>(dpc) };
    let exists = processor < call.kernel.config.processors;
    if exists {
        let processors = &call.kernel.ke().processors;
        footprint::touch(processors.key(), Access::Exclusive);
        processors.is_target.store(true, Ordering::Relaxed);
        object.number.set(u16::try_from(processor + 1).unwrap_or(1));
    }
    exists
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettargetprocessordpc)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetTargetProcessorDpc(dpc: *mut KDPC, number: i8) {
    let call = Call::enter_visible("KeSetTargetProcessorDpc", dpc);
    let exists = set_target(&call, dpc, u32::from(number.cast_unsigned()));
    call.require(exists, Rule::Dpc, || {
        format!("there is no processor {number}")
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettargetprocessordpcex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetTargetProcessorDpcEx(dpc: *mut KDPC, number: *mut c_void) -> nt::NTSTATUS {
    let call = Call::enter_visible("KeSetTargetProcessorDpcEx", dpc);
    // SAFETY: the caller passes a PROCESSOR_NUMBER: the group, the number in the group, a reserved byte.
    let [group, group_high, in_group, reserved] = unsafe { number.cast::<[u8; 4]>().read() };
    let is_in_group = [group, group_high, reserved] == [0; 3];
    if is_in_group && set_target(&call, dpc, in_group.into()) {
        nt::STATUS_SUCCESS
    } else {
        nt::STATUS_INVALID_PARAMETER
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetimportancedpc)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetImportanceDpc(dpc: *mut KDPC, importance: i32) {
    let call = Call::enter_visible("KeSetImportanceDpc", dpc);
    // SAFETY: the caller gives a DPC that was initialised.
    let object = unsafe { call.view::<Dpc, _>(dpc) };
    let known = u8::try_from(importance).unwrap_or(u8::MAX);
    call.require(known <= 3, Rule::Dpc, || {
        format!("{importance} is not an importance of a DPC")
    });
    object.importance.set(known);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveQueueDpc(dpc: *mut KDPC) -> u8 {
    let call = Call::enter_visible("KeRemoveQueueDpc", dpc);
    u8::from(call.remove_dpc(dpc))
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeFlushQueuedDpcs() {
    let call = Call::enter_noted("KeFlushQueuedDpcs").at_most(0);
    call.flush_dpcs();
}
