//! Devices as the PnP manager knows them: started, removed, taken away.

use std::sync::{Arc, atomic::Ordering};

use nt::{
    IRP_MJ_PNP, IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_REMOVE_DEVICE,
    IRP_MN_START_DEVICE, IRP_MN_SURPRISE_REMOVAL, NTSTATUS,
};

use crate::{
    Access, File, Rule,
    bug_check::BugCheck,
    call::Call,
    device::{DeviceInner, STATUS_OBJECT_NAME_NOT_FOUND},
    irp::Asked,
    kernel::Kernel,
    thread::Attached,
};

/// What a PnP or power request comes with, for nobody has handled it yet.
const STATUS_NOT_SUPPORTED: NTSTATUS = 0xc000_00bb_u32.cast_signed();

impl DeviceInner {
    /// Sends a PnP or power request, and waits for its end.
    fn ask(&self, call: &Call, major: usize, minor: u8) -> NTSTATUS {
        let asked = Asked {
            major,
            minor,
            ..Asked::default()
        };
        let record = call.new_irp(asked, None, &[], Vec::new());
        // SAFETY: nobody else has the IRP yet.
        unsafe { nt::irp::set_status(record.raw(), STATUS_NOT_SUPPORTED) };
        call.send_and_wait(self.object(), &record)
    }

    /// `IRP_MN_REMOVE_DEVICE`, after which the driver's device object must be detached and deleted.
    pub(crate) fn remove(&self, call: &Call) -> NTSTATUS {
        let status = self.ask(call, IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE);
        self.is_removed.store(true, Ordering::SeqCst);
        let object = self.object();
        let address = object.addr() as u64;
        // SAFETY: the physical device object is the PnP manager's.
        let attached = unsafe { (*self.pdo()).AttachedDevice };
        call.require(attached.is_null(), Rule::PnpRemove, || {
            let what = "the device object is still attached after IRP_MN_REMOVE_DEVICE";
            (BugCheck::io(0x21d, [0, 0, address]), what.into())
        });
        call.require(
            call.kernel.io.devices.is_deleted(object),
            Rule::PnpRemove,
            || {
                let what = "the device object is not deleted after IRP_MN_REMOVE_DEVICE";
                (BugCheck::io(0x21e, [0, 0, address]), what.into())
            },
        );
        status
    }
}

/// A device of a driver's.
#[derive(Clone)]
pub struct Device {
    kernel: Arc<Kernel>,
    inner: Arc<DeviceInner>,
}

impl Device {
    pub(crate) fn new(kernel: &Arc<Kernel>, inner: Arc<DeviceInner>) -> Self {
        Self {
            kernel: Arc::clone(kernel),
            inner,
        }
    }

    /// The address of the driver's device object, for who looks at the system from outside, as a debugger does.
    pub fn object(&self) -> usize {
        self.inner.object().addr()
    }

    /// Sends a PnP request, by its minor function, and gives the status that it ended with.
    pub fn pnp(&self, minor: u8) -> NTSTATUS {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("the PnP manager");
        if minor == IRP_MN_REMOVE_DEVICE {
            return self.inner.remove(&call);
        }
        self.inner.ask(&call, IRP_MJ_PNP, minor)
    }

    /// Sends a power request, by its minor function, and gives the status that it ended with.
    pub fn power(&self, minor: u8) -> NTSTATUS {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("the power manager");
        self.inner.ask(&call, nt::IRP_MJ_POWER, minor)
    }

    /// Starts the device.
    ///
    /// # Errors
    /// What the driver answers. The device is then removed, as the PnP manager does.
    pub fn start(&self) -> Result<(), NTSTATUS> {
        let status = self.pnp(IRP_MN_START_DEVICE);
        if status < 0 {
            self.pnp(IRP_MN_REMOVE_DEVICE);
            return Err(status);
        }
        Ok(())
    }

    /// Removes the device in good order: asks first, and leaves it if the driver refuses or a file is open.
    ///
    /// # Errors
    /// What the driver answers, or `STATUS_UNSUCCESSFUL` for the open file.
    pub fn remove(&self) -> Result<(), NTSTATUS> {
        const STATUS_UNSUCCESSFUL: NTSTATUS = 0xc000_0001_u32.cast_signed();
        let status = self.pnp(IRP_MN_QUERY_REMOVE_DEVICE);
        let status = if self.inner.open_files() == 0 {
            status
        } else {
            STATUS_UNSUCCESSFUL
        };
        if status < 0 {
            self.pnp(IRP_MN_CANCEL_REMOVE_DEVICE);
            return Err(status);
        }
        self.pnp(IRP_MN_REMOVE_DEVICE);
        Ok(())
    }

    /// Takes the device away under its users, as when it is unplugged. The removal proper comes with the last file that
    /// is closed.
    pub fn take_away(&self) {
        self.pnp(IRP_MN_SURPRISE_REMOVAL);
        self.inner.removal_waits.store(true, Ordering::SeqCst);
        if self.inner.open_files() == 0 && self.inner.removal_waits.swap(false, Ordering::SeqCst) {
            self.pnp(IRP_MN_REMOVE_DEVICE);
        }
    }

    /// Whether it was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.inner.is_removed.load(Ordering::SeqCst)
    }

    /// Whether user mode can find it by its interface.
    #[must_use]
    pub fn is_interface_enabled(&self) -> bool {
        self.kernel.io.devices.is_enabled(self.inner.pdo())
    }

    /// Opens it by its interface.
    ///
    /// # Errors
    /// `STATUS_OBJECT_NAME_NOT_FOUND` if that is not enabled, and what the driver answers.
    pub fn open(&self, access: Access) -> Result<File, NTSTATUS> {
        if !self.is_interface_enabled() {
            return Err(STATUS_OBJECT_NAME_NOT_FOUND);
        }
        self.open_anyway(access)
    }

    /// Opens it, whether or not its interface is enabled: a path that was found before may still be used.
    ///
    /// # Errors
    /// What the driver answers.
    pub fn open_anyway(&self, access: Access) -> Result<File, NTSTATUS> {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("NtCreateFile");
        File::open(&call, &self.kernel, &self.inner, access)
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open_files = self.inner.open_files();
        f.debug_struct("Device")
            .field("open_files", &open_files)
            .finish_non_exhaustive()
    }
}
