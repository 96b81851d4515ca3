//! Scenes of `IrpQueue`: submission, completion, cancellation, cleanup and removal against each other.

use std::sync::Arc;

use ntmodel::{Access, Device, Driver, File, Kernel, explore::Search};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    FileId, Guid, Handled, Irp, IrpQueue, IrpView, NtStatus, PassiveLevel, QueueCallbacks,
    irql::NoSpinLockHeld,
};

use crate::Scene;

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "queue::cancel_against_completion",
        summary: "one actor cancels a request that another completes: it ends once, either way",
        search: EVERY,
        run: cancel_against_completion,
    },
    Scene {
        name: "queue::cancel_against_insertion",
        summary: "one actor cancels a request that another is sending: it ends as cancelled",
        search: EVERY,
        run: cancel_against_insertion,
    },
];

/// Every order there is.
const EVERY: Search = Search::DepthFirst { most: 1_000_000 };

/// The IOCTLs of the scenes' device: pend this request, or complete the oldest that pends.
const PEND: u32 = 0x22_2000;
const COMPLETE: u32 = 0x22_2004;

const CANCELLED: i32 = nt::STATUS_CANCELLED;
const SUCCESS: i32 = nt::STATUS_SUCCESS;
const NOT_FOUND: i32 = nt::STATUS_NOT_FOUND;

/// Counts nothing: the scenes look at their requests.
struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();

    fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}
}

/// A device with one queue.
#[pin_data]
struct Waiters {
    #[pin]
    queue: IrpQueue<Quiet>,
}

impl wdm::Device for Waiters {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    fn add(_: &mut PassiveLevel) -> Result<impl PinInit<Self, NtStatus>, NtStatus> {
        Ok(try_pin_init!(Self { queue <- IrpQueue::new(Quiet) }? NtStatus))
    }

    fn device_control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.code() == PEND {
            return self.queue.insert(irp, irql);
        }
        let status = match self.queue.remove_first(irql) {
            Some(pended) => {
                pended.complete(NtStatus::SUCCESS, irql);
                NtStatus::SUCCESS
            }
            None => NtStatus::NOT_FOUND,
        };
        irp.complete(status, irql)
    }

    fn cleanup(&self, file: FileId, irql: &mut PassiveLevel) {
        self.queue.cleanup(file, irql);
    }

    fn query_remove(&self, irql: &mut PassiveLevel) {
        self.queue.refuse(NtStatus::DELETE_PENDING, irql);
    }

    fn cancel_remove(&self, irql: &mut PassiveLevel) {
        self.queue.accept(irql);
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.queue.purge(NtStatus::DELETE_PENDING, irql);
    }
}

/// A driver that was loaded, its started device and an open file of it.
struct Stage {
    driver: Driver,
    device: Device,
    file: Arc<File>,
}

impl Stage {
    fn set<D: wdm::Device>(kernel: &Arc<Kernel>) -> Self {
        let driver = crate::load::<D>(kernel).expect("DriverEntry");
        let device = driver.add_device().expect("AddDevice");
        device.start().expect("the device starts");
        let file = Arc::new(device.open(Access::ReadWrite).expect("the device opens"));
        Self {
            driver,
            device,
            file,
        }
    }

    /// Closes the file, removes the device and unloads the driver, which must leave nothing behind.
    fn strike(self) {
        let file = Arc::into_inner(self.file).expect("the actors are done with it");
        file.close();
        self.device.remove().expect("no file is open");
        self.driver.unload();
    }
}

fn cancel_against_completion(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Waiters>(kernel);
    let request = Arc::new(stage.file.device_control(PEND, &[], Vec::new()));
    let canceller = {
        let request = Arc::clone(&request);
        kernel.actor("canceller", move || request.cancel())
    };
    let completed = stage
        .file
        .device_control(COMPLETE, &[], Vec::new())
        .answer();
    canceller.join();
    let end = request
        .wait(std::time::Duration::from_secs(1))
        .expect("it ends")
        .status;
    let expected = if completed == SUCCESS {
        SUCCESS
    } else {
        CANCELLED
    };
    assert_eq!(end, expected);
    assert!([SUCCESS, NOT_FOUND].contains(&completed));
    stage.strike();
}

fn cancel_against_insertion(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Waiters>(kernel);
    let canceller = {
        let file = Arc::clone(&stage.file);
        kernel.actor("canceller", move || file.cancel_all())
    };
    let request = stage.file.device_control(PEND, &[], Vec::new());
    let found = canceller.join();
    if !found {
        // The canceller came too early.
        assert!(request.cancel());
    }
    let end = request
        .wait(std::time::Duration::from_secs(1))
        .expect("it ends")
        .status;
    assert_eq!(end, CANCELLED);
    stage.strike();
}
