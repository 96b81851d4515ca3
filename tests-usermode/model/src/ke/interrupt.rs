//! Interrupt objects. A test raises an interrupt ([`Kernel::interrupt`]); its service routines run in the thread of the test, at
//! the IRQL of the interrupt and under its spin lock.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-interrupt-service-routines)

use std::{
    ffi::c_void,
    ptr::without_provenance_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use nt::{PKSERVICE_ROUTINE, PKSYNCHRONIZE_ROUTINE};

use crate::{
    host::{Call, Kernel, footprint, thread::Attached},
    ke::spin_lock,
    mutex::locked,
    verifier::{
        BugCheck, Rule,
        held::{HeldLock, Kind},
    },
};

/// What a driver connects.
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) routine: PKSERVICE_ROUTINE,
    pub(crate) context: *mut c_void,
    /// The spin lock of the driver; NULL for that of the interrupt object.
    pub(crate) lock: *mut nt::KSPIN_LOCK,
    pub(crate) vector: u32,
    /// The IRQL at which the routine runs.
    pub(crate) irql: u8,
}

/// An interrupt object. It stays when it is disconnected, to detect a later use.
struct Interrupt {
    connection: Connection,
    /// The spin lock of the object, as a `KSPIN_LOCK`.
    own_lock: AtomicU64,
    is_connected: AtomicBool,
}

// SAFETY: the pointers are the driver's, which passes them to be used in any thread.
unsafe impl Send for Interrupt {}
// SAFETY: as above.
unsafe impl Sync for Interrupt {}

impl Interrupt {
    /// Returns the `PKINTERRUPT`, an address at which a driver accesses nothing.
    fn object(self: &Arc<Self>) -> *mut c_void {
        without_provenance_mut(Arc::as_ptr(self).addr())
    }
}

/// The interrupt objects.
#[derive(Default)]
pub(in crate::ke) struct Interrupts(Mutex<Vec<Arc<Interrupt>>>);

impl Call {
    /// Connects a service routine; returns the interrupt object.
    pub(crate) fn connect_interrupt(&self, connection: Connection) -> *mut c_void {
        footprint::touch_everything();
        let interrupt = Arc::new(Interrupt {
            connection,
            own_lock: AtomicU64::new(spin_lock::FREE),
            is_connected: AtomicBool::new(true),
        });
        let object = interrupt.object();
        // The service routine observes what the driver did before.
        self.synchronise(object.addr());
        locked(&self.kernel.ke().interrupts.0).push(interrupt);
        object
    }

    /// Disconnects a service routine. When this returns, it does not run, and is no longer called.
    pub(crate) fn disconnect_interrupt(&self, object: *mut c_void) {
        let interrupt = self.connected(object);
        let held = self.enter_interrupt(&interrupt);
        footprint::touch_everything();
        interrupt.is_connected.store(false, Ordering::Relaxed);
        self.leave_interrupt(&interrupt, held);
    }

    /// Stops the system if an interrupt is connected when its driver is unloaded.
    pub(crate) fn require_no_interrupt(&self) {
        let interrupts = locked(&self.kernel.ke().interrupts.0);
        let is_connected = |one: &&Arc<Interrupt>| one.is_connected.load(Ordering::Relaxed);
        let vector = interrupts
            .iter()
            .find(is_connected)
            .map(|one| one.connection.vector);
        drop(interrupts);
        self.require(vector.is_none(), Rule::Interrupt, || {
            let vector = vector.unwrap_or_default();
            let what = format!(
                "the driver is unloaded, and has not called IoDisconnectInterrupt(Ex) for the vector {vector:#x}"
            );
            (BugCheck(0xce, [0; 4]), what)
        });
    }

    /// Returns the interrupt of an object.
    fn connected(&self, object: *mut c_void) -> Arc<Interrupt> {
        let interrupts = locked(&self.kernel.ke().interrupts.0);
        let found = interrupts
            .iter()
            .find(|one| one.object() == object)
            .cloned();
        drop(interrupts);
        let is_connected = |one: &Arc<Interrupt>| one.is_connected.load(Ordering::Relaxed);
        let Some(found) = found.filter(is_connected) else {
            let what = format!("{object:?} is not an interrupt object that is connected");
            let bug_check = BugCheck(0x50, [object.addr() as u64, 0, 0, 0]);
            self.stop(bug_check, Rule::Interrupt, what)
        };
        found
    }

    fn lock_of<'a>(&self, interrupt: &'a Interrupt) -> &'a AtomicU64 {
        if interrupt.connection.lock.is_null() {
            return &interrupt.own_lock;
        }
        // SAFETY: the driver keeps its lock as long as the interrupt is connected.
        unsafe { self.lock_word(interrupt.connection.lock) }
    }

    /// Raises the IRQL to that of an interrupt and acquires its spin lock; returns the IRQL before.
    fn enter_interrupt(&self, interrupt: &Interrupt) -> u8 {
        let (irql, wanted) = (self.irql(), interrupt.connection.irql);
        self.require(irql <= wanted, Rule::Irql, || {
            let what =
                format!("the IRQL is {irql}, and must be at most that of the interrupt, {wanted}");
            (BugCheck::verifier(0xe5, [irql.into(), 0, 0]), what)
        });
        let old = self.raise_irql(wanted);
        self.acquire(self.lock_of(interrupt), Kind::Interrupt, Some(old));
        old
    }

    /// Releases the spin lock of an interrupt, and lowers the IRQL.
    fn leave_interrupt(&self, interrupt: &Interrupt, old: u8) {
        let (irql, wanted) = (self.irql(), interrupt.connection.irql);
        self.require(irql == wanted, Rule::IrqlReturn, || {
            let what = format!("the IRQL is {irql}, and must be that of the interrupt, {wanted}");
            let bug_check = BugCheck::verifier(0x2_001d, [irql.into(), wanted.into(), 0]);
            (bug_check, what)
        });
        let held: HeldLock = self.release(self.lock_of(interrupt), Kind::Interrupt);
        self.require_saved_irql(&held, old);
        self.lower_irql(old);
    }
}

impl Kernel {
    /// Raises an interrupt: calls the service routines that drivers have connected to a vector, at their IRQL, until one returns
    /// TRUE. Then DPCs that it has queued run. Returns whether one has returned TRUE.
    ///
    /// The thread stands for the one that the interrupt interrupts. In an [exploration](crate::explore) call it in a thread of its
    /// own, so that the interrupt comes at every point of the driver's code.
    pub fn interrupt(self: &Arc<Self>, vector: u32) -> bool {
        let _attached = Attached::to(self);
        let call = Call::enter("an interrupt");
        let all = locked(&self.ke().interrupts.0).clone();
        all.iter()
            .filter(|interrupt| interrupt.connection.vector == vector)
            .any(|interrupt| call.serve(interrupt))
    }
}

impl Call {
    /// Calls the service routine of an interrupt, if it is connected.
    fn serve(&self, interrupt: &Arc<Interrupt>) -> bool {
        self.switch_point("an interrupt", interrupt.object().addr());
        if !interrupt.is_connected.load(Ordering::Relaxed) {
            return false;
        }
        self.acquire_from(interrupt.object().addr());
        let old = self.enter_interrupt(interrupt);
        let Connection {
            routine, context, ..
        } = interrupt.connection;
        let claimed = match routine {
            Some(routine) if interrupt.is_connected.load(Ordering::Relaxed) => {
                let serving = self.serving.take();
                // SAFETY: the routine is called as the kernel calls it, with the context of its connection.
                let claimed = unsafe { Call::in_driver(routine, (interrupt.object(), context)) };
                self.serving.set(serving);
                claimed
            }
            _ => 0,
        };
        self.leave_interrupt(interrupt, old);
        claimed != 0
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesynchronizeexecution)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSynchronizeExecution(
    interrupt: *mut c_void,
    routine: PKSYNCHRONIZE_ROUTINE,
    context: *mut c_void,
) -> u8 {
    let call = Call::enter_visible("KeSynchronizeExecution", interrupt);
    let interrupt = call.connected(interrupt);
    let Some(routine) = routine else {
        return 0;
    };
    let old = call.enter_interrupt(&interrupt);
    // SAFETY: the routine is called as the kernel calls it, with the context that the driver passes.
    let result = unsafe { Call::in_driver(routine, (context,)) };
    call.leave_interrupt(&interrupt, old);
    result
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquireinterruptspinlock)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireInterruptSpinLock(interrupt: *mut c_void) -> u8 {
    let call = Call::enter_visible("KeAcquireInterruptSpinLock", interrupt);
    let interrupt = call.connected(interrupt);
    call.enter_interrupt(&interrupt)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleaseinterruptspinlock)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseInterruptSpinLock(interrupt: *mut c_void, old_irql: u8) {
    let call = Call::enter_noted("KeReleaseInterruptSpinLock");
    let object = interrupt;
    let interrupt = call.connected(object);
    call.leave_interrupt(&interrupt, old_irql);
    call.switch_after(call.routine(), object);
}
