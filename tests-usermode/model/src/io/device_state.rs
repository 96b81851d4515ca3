//! `IoInvalidateDeviceState`, after which the PnP manager asks the drivers of a device for its state.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinvalidatedevicestate)

use std::sync::Arc;

use nt::{DEVICE_OBJECT, DISPATCH_LEVEL, IRP_MJ_PNP};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
        thread::Thread,
        wait::Wait,
    },
    io::{
        device_stack::top_of,
        irp::{IrpParameters, IrpRecord},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `IRP_MN_QUERY_PNP_DEVICE_STATE`
const QUERY_PNP_DEVICE_STATE: u8 = 0x14;

impl Call {
    /// Waits until a stack has no other PnP request, then makes a request that is about to be sent and records it, unless `make` fails.
    /// The PnP manager sends one request at a time.
    pub(in crate::io) fn begin_pnp<E>(
        &self,
        pdo: usize,
        make: impl Fn() -> Result<Arc<IrpRecord>, E>,
    ) -> Result<Arc<IrpRecord>, E> {
        loop {
            self.touch_pnp();
            let other = {
                let mut under_way = locked(&self.kernel.io().pnp);
                if let Some(other) = under_way.get(&pdo) {
                    Arc::clone(other)
                } else {
                    let record = make()?;
                    under_way.insert(pdo, Arc::clone(&record));
                    return Ok(record);
                }
            };
            self.wait_for(Wait::Irp(other.address()), || {
                let is_over = !self.is_under_way(pdo, &other);
                is_over.then_some(())
            });
        }
    }

    fn touch_pnp(&self) {
        let key = (&raw const self.kernel.io().pnp).addr();
        footprint::touch(key, Access::Exclusive);
    }

    fn is_under_way(&self, pdo: usize, record: &Arc<IrpRecord>) -> bool {
        let under_way = locked(&self.kernel.io().pnp);
        under_way
            .get(&pdo)
            .is_some_and(|other| Arc::ptr_eq(other, record))
    }

    /// Records that a PnP request of a stack has ended.
    pub(in crate::io) fn end_pnp(&self, pdo: usize, record: &IrpRecord) {
        self.touch_pnp();
        locked(&self.kernel.io().pnp).remove(&pdo);
        self.kernel.sleepers.wake(Wait::Irp(record.address()));
    }

    /// Makes a PnP request for the top device object of a stack.
    pub(in crate::io) fn new_pnp(
        &self,
        top: *mut DEVICE_OBJECT,
        parameters: IrpParameters,
    ) -> Arc<IrpRecord> {
        let record = self.new_irp(top, parameters, None, &[], Vec::new());
        // SAFETY: the IRP was not sent yet.
        unsafe { nt::irp::set_status(record.raw(), nt::STATUS_NOT_SUPPORTED) };
        record
    }

    /// Queries the drivers of a stack for the state of its device, unless they have detached from the stack.
    fn query_state(&self, pdo: *mut DEVICE_OBJECT) {
        let parameters = IrpParameters::new(IRP_MJ_PNP, QUERY_PNP_DEVICE_STATE);
        let record = self.begin_pnp(pdo.addr(), || {
            let top = top_of(pdo);
            let is_left = top == pdo;
            (!is_left).then(|| self.new_pnp(top, parameters)).ok_or(())
        });
        let Ok(record) = record else { return };
        let status = self.send_and_wait(top_of(pdo), &record);
        self.end_pnp(pdo.addr(), &record);
        let completion = locked(&record.state).completion;
        if status >= 0 {
            let information = completion.map_or(0, |(_, information)| information);
            locked(&self.kernel.io().states).insert(pdo.addr(), information);
        }
    }
}

impl Kernel {
    /// Returns the `PNP_DEVICE_STATE` that the drivers of a physical device object have answered last.
    pub(in crate::io) fn state_of(&self, pdo: usize) -> Option<usize> {
        locked(&self.io().states).get(&pdo).copied()
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoInvalidateDeviceState(pdo: *mut DEVICE_OBJECT) {
    let call = Call::enter("IoInvalidateDeviceState").at_most(DISPATCH_LEVEL);
    call.require_live_device(pdo);
    let kernel = &call.kernel;
    call.require(kernel.io().devices.is_physical(pdo), Rule::Pointer, || {
        let what = format!("{pdo:?} is not a physical device object");
        // PNP_DETECTED_FATAL_ERROR: a device object that is no PDO
        (BugCheck(0xca, [2, pdo.addr() as u64, 0, 0]), what)
    });
    kernel.work_began();
    let address = pdo.expose_provenance();
    Thread::new_system(kernel, "PnP manager").start(move |kernel| {
        let call = Call::enter("the PnP manager");
        call.query_state(std::ptr::with_exposed_provenance_mut(address));
        kernel.work_ended();
    });
    call.switch_after(call.routine(), pdo);
}
