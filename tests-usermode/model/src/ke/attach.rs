//! Threads that are attached to the address space of another process.

use nt::{KAPC_STATE, PRKPROCESS};

use crate::{
    host::{
        Call,
        process::{SYSTEM, USER},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;

/// `INVALID_PROCESS_ATTACH_ATTEMPT` and `INVALID_PROCESS_DETACH_ATTEMPT`
const INVALID_ATTACH: u32 = 5;
const INVALID_DETACH: u32 = 6;

impl Call {
    /// Stops the system if a driver's routine has returned, and the thread is attached to a process.
    pub(crate) fn require_not_attached(&self, routine: &str) {
        let process = self.attached_to();
        self.require(process.is_none(), Rule::Attach, || {
            let object = process.map_or(0, |process| process.object().addr());
            let what = format!(
                "{routine} has returned and is attached to the process {object:#x}: call KeUnstackDetachProcess"
            );
            (BugCheck(INVALID_ATTACH, [0, object as u64, 1, 0]), what)
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-kestackattachprocess)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeStackAttachProcess(process: PRKPROCESS, state: *mut KAPC_STATE) {
    let call = Call::enter_noted("KeStackAttachProcess");
    call.require_at_most(APC_LEVEL, Rule::Irql, 0xe5);
    call.require_room(state);
    // "The caller must allocate storage for this structure from nonpaged pool or the caller's own thread stack."
    call.require_nonpaged(state);
    let known = [SYSTEM, USER]
        .into_iter()
        .find(|one| one.object() == process);
    let Some(known) = known else {
        let bug_check = BugCheck(0x50, [process.addr() as u64, 0, 0, 0]);
        let what = format!("the thread attaches to {process:?}, which is not a process");
        call.stop(bug_check, Rule::Attach, what)
    };
    locked(&call.attached).push((state.addr(), known));
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-keunstackdetachprocess)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeUnstackDetachProcess(state: *mut KAPC_STATE) {
    let call = Call::enter_noted("KeUnstackDetachProcess");
    call.require_at_most(APC_LEVEL, Rule::Irql, 0xe5);
    call.require_room(state);
    let last = locked(&call.attached).pop().map(|(state, _)| state);
    call.require(last == Some(state.addr()), Rule::Attach, || {
        let what = format!(
            "{state:?} is not the state that the last KeStackAttachProcess of this thread has stored"
        );
        (BugCheck(INVALID_DETACH, [0; 4]), what)
    });
}
