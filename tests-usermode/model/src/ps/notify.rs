//! Routines that a driver has registered for the start and the end of processes and threads, and for images.
//!
//! Microsoft's pages:
//! [processes](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-pssetcreateprocessnotifyroutine),
//! [threads](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-pssetcreatethreadnotifyroutine),
//! [images](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-pssetloadimagenotifyroutine)

use std::{
    ptr::{null_mut, without_provenance_mut},
    sync::{Arc, atomic::Ordering},
};

use nt::{
    CLIENT_ID, FILE_OBJECT, HANDLE, IMAGE_INFO, NTSTATUS, PCREATE_PROCESS_NOTIFY_ROUTINE,
    PCREATE_PROCESS_NOTIFY_ROUTINE_EX, PCREATE_THREAD_NOTIFY_ROUTINE, PLOAD_IMAGE_NOTIFY_ROUTINE,
    PS_CREATE_NOTIFY_INFO, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
    UNICODE_STRING,
};

use crate::{
    ex::Registrations,
    host::{Call, DriverRoutine, Kernel, thread::Attached},
    ps::{SYSTEM, USER, identity::thread_id},
    verifier::Rule,
};

/// The maximum number of routines of a kind.
const MOST: usize = 64;

const APC_LEVEL: u8 = 1;

const STATUS_PROCEDURE_NOT_FOUND: NTSTATUS = 0xc000_007a_u32.cast_signed();

/// Where the image of a process would be.
const IMAGE_BASE: usize = 0x0000_7ff6_0000_0000;

/// The registered routines.
pub(super) struct NotifyRoutines {
    process: Registrations<PCREATE_PROCESS_NOTIFY_ROUTINE>,
    process_ex: Registrations<PCREATE_PROCESS_NOTIFY_ROUTINE_EX>,
    thread: Registrations<PCREATE_THREAD_NOTIFY_ROUTINE>,
    image: Registrations<PLOAD_IMAGE_NOTIFY_ROUTINE>,
}

impl Default for NotifyRoutines {
    fn default() -> Self {
        Self {
            process: Registrations::new("PsSetCreateProcessNotifyRoutine with Remove = TRUE"),
            process_ex: Registrations::new("PsSetCreateProcessNotifyRoutineEx with Remove = TRUE"),
            thread: Registrations::new("PsRemoveCreateThreadNotifyRoutine"),
            image: Registrations::new("PsRemoveLoadImageNotifyRoutine"),
        }
    }
}

impl Call {
    fn add_notify_routine<R: Copy>(
        &self,
        routines: &Registrations<R>,
        routine: R,
        address: usize,
    ) -> NTSTATUS {
        if self.kernel.fails() || routines.all().len() == MOST {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        routines.add(self, routine, address, 0);
        STATUS_SUCCESS
    }

    /// Removes a routine, and waits until it no longer runs.
    fn remove_notify_routine<R: Copy>(
        &self,
        routines: &Registrations<R>,
        address: usize,
    ) -> NTSTATUS {
        let all = routines.all();
        let Some(found) = all.iter().find(|one| one.address == address) else {
            return STATUS_PROCEDURE_NOT_FOUND;
        };
        let runs_here = routines.runs_here(self, found.number);
        self.require(!runs_here, Rule::Callback, || {
            format!(
                "{} waits until the routine has returned, and is called by the routine itself",
                self.routine()
            )
        });
        routines.remove(found.number);
        routines.wait_for_calls(self, found.number);
        STATUS_SUCCESS
    }

    fn set_process_routine<R: Copy>(
        &self,
        routines: &Registrations<R>,
        routine: R,
        address: usize,
        remove: u8,
    ) -> NTSTATUS {
        if remove != 0 {
            return self.remove_notify_routine(routines, address);
        }
        let all = routines.all();
        if all.len() == MOST || all.iter().any(|one| one.address == address) {
            return STATUS_INVALID_PARAMETER;
        }
        self.add_notify_routine(routines, routine, address)
    }

    /// Stops the system if a routine is still registered when its driver is unloaded.
    pub(crate) fn require_no_notify_routine(&self) {
        let routines = &self.kernel.ps().notify_routines;
        routines.process.require_none(self);
        routines.process_ex.require_none(self);
        routines.thread.require_none(self);
        routines.image.require_none(self);
    }

    /// Calls the routines of a kind: in a critical region, at `PASSIVE_LEVEL`.
    fn notify<R: DriverRoutine>(
        &self,
        routines: &Registrations<Option<R>>,
        arguments: impl Fn() -> R::Arguments,
    ) {
        routines.call_each(self, |one| {
            let Some(routine) = one.routine else {
                return;
            };
            self.critical_regions.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the routine is called as the system calls it, with objects that stay until it returns.
            unsafe { Call::in_driver(routine, arguments()) };
            self.require_regions(1, "a routine that is notified");
            self.critical_regions.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Kernel {
    /// Runs a user-mode process with one thread, which loads its image and ends. Calls the routines that drivers have registered
    /// with `PsSetCreateProcessNotifyRoutine(Ex)`, `PsSetCreateThreadNotifyRoutine` and `PsSetLoadImageNotifyRoutine`.
    ///
    /// # Errors
    /// The status with which a driver has prevented the creation of the process.
    pub fn run_process(self: &Arc<Self>) -> Result<(), NTSTATUS> {
        let _attached = Attached::to(self);
        let call = Call::enter("NtCreateUserProcess");
        let routines = &self.ps().notify_routines;
        let [parent, process] = [SYSTEM, USER].map(|process| handle(process.id));
        let thread = thread_id(&call);
        let mut path: Vec<u16> = r"\Device\HarddiskVolume1\program.exe"
            .encode_utf16()
            .collect();
        let size = u16::try_from(size_of_val(&*path)).unwrap_or_default();
        let mut name = UNICODE_STRING {
            Length: size,
            MaximumLength: size,
            Buffer: path.as_mut_ptr(),
        };
        // SAFETY: zero is valid for every field.
        let mut file = unsafe { std::mem::zeroed::<FILE_OBJECT>() };
        let mut information = PS_CREATE_NOTIFY_INFO {
            Size: size_of::<PS_CREATE_NOTIFY_INFO>(),
            Flags: 1,
            ParentProcessId: parent,
            CreatingThreadId: CLIENT_ID {
                UniqueProcess: parent,
                UniqueThread: thread,
            },
            FileObject: &raw mut file,
            ImageFileName: &raw const name,
            CommandLine: &raw const name,
            CreationStatus: STATUS_SUCCESS,
        };
        let information = &raw mut information;
        call.notify(&routines.process, || (parent, process, 1));
        call.notify(&routines.process_ex, || {
            (USER.object(), process, information)
        });
        // SAFETY: no routine runs that has the structure.
        let status = unsafe { (*information).CreationStatus };
        if status >= 0 {
            call.notify(&routines.thread, || (process, thread, 1));
            let mut image = IMAGE_INFO {
                Properties: 3,
                ImageBase: without_provenance_mut(IMAGE_BASE),
                ImageSelector: 0,
                ImageSize: 0x1000,
                ImageSectionNumber: 0,
            };
            let (name, image) = (&raw mut name, &raw mut image);
            call.notify(&routines.image, || (name, process, image));
            call.notify(&routines.thread, || (process, thread, 0));
        }
        call.notify(&routines.process, || (parent, process, 0));
        call.notify(&routines.process_ex, || {
            (USER.object(), process, null_mut())
        });
        if status < 0 { Err(status) } else { Ok(()) }
    }
}

fn handle(id: u32) -> HANDLE {
    without_provenance_mut(id as usize)
}

fn address<R>(routine: Option<R>, of: fn(R) -> *const ()) -> usize {
    routine.map_or(0, |routine| of(routine).addr())
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsSetCreateProcessNotifyRoutine(
    routine: PCREATE_PROCESS_NOTIFY_ROUTINE,
    remove: u8,
) -> NTSTATUS {
    let call = Call::enter_shared("PsSetCreateProcessNotifyRoutine");
    call.require_at_most(0, Rule::IrqlPsPassive, 0x2_001c);
    let routines = &call.kernel.ps().notify_routines.process;
    let address = address(routine, |routine| routine as *const ());
    call.set_process_routine(routines, routine, address, remove)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-pssetcreateprocessnotifyroutineex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsSetCreateProcessNotifyRoutineEx(
    routine: PCREATE_PROCESS_NOTIFY_ROUTINE_EX,
    remove: u8,
) -> NTSTATUS {
    let call = Call::enter_shared("PsSetCreateProcessNotifyRoutineEx").at_most(0);
    let routines = &call.kernel.ps().notify_routines.process_ex;
    let address = address(routine, |routine| routine as *const ());
    call.set_process_routine(routines, routine, address, remove)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsSetCreateThreadNotifyRoutine(routine: PCREATE_THREAD_NOTIFY_ROUTINE) -> NTSTATUS {
    let call = Call::enter_shared("PsSetCreateThreadNotifyRoutine");
    call.require_at_most(0, Rule::IrqlPsPassive, 0x2_001c);
    let routines = &call.kernel.ps().notify_routines.thread;
    let address = address(routine, |routine| routine as *const ());
    call.add_notify_routine(routines, routine, address)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psremovecreatethreadnotifyroutine)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsRemoveCreateThreadNotifyRoutine(
    routine: PCREATE_THREAD_NOTIFY_ROUTINE,
) -> NTSTATUS {
    let call = Call::enter_shared("PsRemoveCreateThreadNotifyRoutine").at_most(APC_LEVEL);
    let routines = &call.kernel.ps().notify_routines.thread;
    let address = address(routine, |routine| routine as *const ());
    call.remove_notify_routine(routines, address)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsSetLoadImageNotifyRoutine(routine: PLOAD_IMAGE_NOTIFY_ROUTINE) -> NTSTATUS {
    let call = Call::enter_shared("PsSetLoadImageNotifyRoutine");
    call.require_at_most(0, Rule::IrqlPsPassive, 0x2_001c);
    let routines = &call.kernel.ps().notify_routines.image;
    let address = address(routine, |routine| routine as *const ());
    call.add_notify_routine(routines, routine, address)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psremoveloadimagenotifyroutine)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PsRemoveLoadImageNotifyRoutine(routine: PLOAD_IMAGE_NOTIFY_ROUTINE) -> NTSTATUS {
    let call = Call::enter_shared("PsRemoveLoadImageNotifyRoutine").at_most(APC_LEVEL);
    let routines = &call.kernel.ps().notify_routines.image;
    let address = address(routine, |routine| routine as *const ());
    call.remove_notify_routine(routines, address)
}
