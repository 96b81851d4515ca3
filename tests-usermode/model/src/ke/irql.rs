//! The IRQL. When it falls below `DISPATCH_LEVEL`, queued DPCs run.

use nt::DISPATCH_LEVEL;

use crate::{
    host::Call,
    verifier::{BugCheck, Rule},
};

/// `HIGH_LEVEL`
const HIGH_LEVEL: u8 = 15;

impl Call {
    /// Raises the IRQL; returns the old one. At `DISPATCH_LEVEL` or higher the thread has a processor for itself.
    pub(crate) fn raise_irql(&self, new: u8) -> u8 {
        let old = self.irql();
        if new < old || new > HIGH_LEVEL {
            let bug_check = BugCheck::verifier(0x30, [old.into(), new.into(), 0]);
            let what = format!("the IRQL is raised to {new}, but is {old}");
            self.stop(bug_check, Rule::IrqlKeRaiseLower, what);
        }
        if old < DISPATCH_LEVEL && new >= DISPATCH_LEVEL {
            let processor = self.kernel.ke().processors.claim(self);
            self.set_processor(processor);
            self.spinning.is_over();
        }
        self.set_irql(new);
        old
    }

    /// Lowers the IRQL. When it falls below `DISPATCH_LEVEL`, the processor first runs the DPCs that were queued on it,
    /// and is then free for other threads.
    pub(crate) fn lower_irql(&self, new: u8) {
        let old = self.irql();
        if new > old || new > HIGH_LEVEL {
            let bug_check = BugCheck::verifier(0x31, [old.into(), new.into(), 0]);
            let what = format!("the IRQL is lowered to {new}, but is {old}");
            self.stop(bug_check, Rule::IrqlKeRaiseLower, what);
        }
        if new >= DISPATCH_LEVEL || old < DISPATCH_LEVEL {
            self.set_irql(new);
            return;
        }
        if self.in_dpc.load(std::sync::atomic::Ordering::Relaxed) {
            let bug_check = BugCheck::verifier(0x31, [old.into(), new.into(), 1]);
            let what = format!("the IRQL is lowered to {new} in a DPC");
            self.stop(bug_check, Rule::IrqlKeRaiseLower, what);
        }
        let held = self.held.innermost(ToString::to_string);
        if let Some(held) = held {
            let bug_check = BugCheck::verifier(0x31, [old.into(), new.into(), 0]);
            let what = format!("the IRQL is lowered to {new} while the thread holds {held}");
            self.stop(bug_check, Rule::IrqlKeRaiseLower, what);
        }
        self.spinning.is_over();
        self.set_irql(DISPATCH_LEVEL);
        self.run_dpcs();
        let processor = self.processor();
        self.set_irql(new);
        self.kernel.ke().processors.release(&self.kernel, processor);
        self.move_to_affinity();
    }

    /// Stops the system if the IRQL is above a level.
    pub(crate) fn require_at_most(&self, level: u8, rule: Rule, subcode: u64) {
        let irql = self.irql();
        self.require(irql <= level, rule, || {
            let what = format!("the IRQL is {irql}, and must be at most {level}");
            (BugCheck::verifier(subcode, [irql.into(), 0, 0]), what)
        });
    }

    /// Stops the system if a routine is called above an IRQL, for which Driver Verifier has no rule of its own.
    pub(crate) fn at_most(self, level: u8) -> Self {
        self.require_at_most(level, Rule::Irql, 0xe5);
        self
    }

    /// Stops the system if the IRQL is not exactly `DISPATCH_LEVEL`.
    pub(crate) fn require_dispatch(&self) {
        let irql = self.irql();
        self.require(irql == DISPATCH_LEVEL, Rule::IrqlDispatch, || {
            let what = format!("the IRQL is {irql}, and must be DISPATCH_LEVEL");
            (BugCheck::verifier(0x2_0003, [irql.into(), 0, 0]), what)
        });
    }
}

// SAFETY: no other function of the program has this name, which belongs to the kernel. This holds for every routine of
// this crate.
#[unsafe(no_mangle)]
extern "C" fn KfRaiseIrql(new_irql: u8) -> u8 {
    Call::enter_noted("KeRaiseIrql").raise_irql(new_irql)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kegetcurrentirql)
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeGetCurrentIrql() -> u8 {
    Call::enter_noted("KeGetCurrentIrql").irql()
}

// The name that the kernel exports on this architecture. SAFETY: as above.
#[cfg_attr(target_arch = "aarch64", unsafe(export_name = "KfLowerIrql"))]
#[cfg_attr(not(target_arch = "aarch64"), unsafe(no_mangle))]
extern "C" fn KeLowerIrql(new_irql: u8) {
    Call::enter_noted("KeLowerIrql").lower_irql(new_irql);
}
