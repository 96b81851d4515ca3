//! IRPs that a driver makes for the parts of a master IRP. When the last of them is completed, the I/O manager completes the
//! master.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iomakeassociatedirp)

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use nt::{DISPATCH_LEVEL, IRP, IRP_ASSOCIATED_IRP};

use crate::{
    host::{Call, footprint},
    io::irp::{IrpRecord, Origin},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

impl IrpRecord {
    /// `AssociatedIrp.IrpCount` of a master IRP.
    fn irp_count(&self) -> &AtomicI32 {
        // SAFETY: only the address is computed, inside the IRP.
        let field = unsafe { &raw mut (*self.raw()).AssociatedIrp };
        // SAFETY: the count is at the start of the union. The driver writes it before it sends an associated IRP.
        unsafe { AtomicI32::from_ptr(field.cast()) }
    }
}

impl Call {
    fn wrong_master(&self, what: String) -> ! {
        self.stop(BugCheck::NONE, Rule::AssociatedIrp, what)
    }

    fn require_master(&self, master: &IrpRecord) {
        // SAFETY: the driver owns the IRP.
        let stack_count = unsafe { (*master.raw()).StackCount };
        if master.current() != stack_count {
            self.wrong_master(format!(
                "{master} is split by a driver that has a driver above it: only a highest-level driver splits a request"
            ));
        }
        if master.system_buffer.is_some() {
            self.wrong_master(format!(
                "{master} is split, but has a system buffer, whose address is where AssociatedIrp.IrpCount is"
            ));
        }
    }

    /// Ends an associated IRP, and with the last one its master.
    pub(in crate::io) fn finish_associated(&self, record: &Arc<IrpRecord>) {
        record.touch();
        let irp = record.raw();
        // SAFETY: the caller that completes an IRP owns it.
        let status = unsafe { nt::irp::status(irp) };
        // SAFETY: as above, and the IRP is an associated one.
        let master = unsafe { nt::master_irp(irp) };
        let by = self.caller();
        let ended = {
            let mut state = locked(&record.state);
            state.completion = Some((status, 0));
            state.completed_by.replace(by)
        };
        if let Some(by) = ended {
            let bug_check = BugCheck(0x44, [record.address() as u64, 0, 0, 0]);
            let what = format!("{record} is completed again; {by} has completed it before");
            self.stop(bug_check, Rule::DoubleCompletion, what);
        }
        self.kernel.io().retire(record);
        self.free_mdls(record);
        let name = record.to_string();
        record.poison();
        let master = self.irp(master);
        master.touch();
        let left = master.irp_count().fetch_sub(1, Ordering::AcqRel) - 1;
        if left < 0 {
            self.wrong_master(format!(
                "{name} is completed, but AssociatedIrp.IrpCount of its master {master} was {}: the driver sets it to the \
                 number of associated IRPs before it sends the first",
                left + 1
            ));
        }
        if left == 0 {
            self.complete(&master);
        }
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoMakeAssociatedIrp(master: *mut IRP, stack_size: i8) -> *mut IRP {
    let call = Call::enter_noted("IoMakeAssociatedIrp").at_most(DISPATCH_LEVEL);
    let record = call.live_irp(master);
    call.require_owned(&record, 0x20c);
    call.require_master(&record);
    if call.kernel.fails() {
        return null_mut();
    }
    footprint::touch(master.addr(), footprint::Access::Exclusive);
    call.make_irp(stack_size, Origin::Associated, None, |associated| {
        // SAFETY: the IRP is made here.
        let irp = unsafe { &mut *associated.raw() };
        irp.Flags = IRP_ASSOCIATED_IRP;
        irp.AssociatedIrp.MasterIrp = master;
        // SAFETY: the driver owns the master IRP.
        irp.RequestorMode = unsafe { nt::irp::requestor_mode(master) };
        Some(())
    })
}
