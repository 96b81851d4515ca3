//! The names of device objects, and the symbolic links to them by which user mode opens a device.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use nt::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, FILE_DEVICE_SECURE_OPEN, NTSTATUS, STATUS_ACCESS_DENIED,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_SUCH_DEVICE, STATUS_OBJECT_NAME_COLLISION,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_SYNTAX_BAD, STATUS_SUCCESS, UNICODE_STRING,
};
use rustc_hash::FxHashMap;

use crate::{
    host::{Call, Kernel, thread::Attached, wait::Wait},
    io::{
        Access, File, User,
        device::{DO_EXCLUSIVE, DeviceInner},
        file::Opening,
        security::Dacl,
    },
    mutex::locked,
    verifier::Rule,
};

/// The names, in lower case, since the object manager compares them without regard to case.
#[derive(Default)]
pub(crate) struct Namespace {
    devices: Mutex<FxHashMap<String, NamedDevice>>,
    /// The links, and the names that they stand for.
    links: Mutex<BTreeMap<String, String>>,
}

struct NamedDevice {
    /// The address of the device object.
    object: usize,
    /// The device of the stack that the device object is in.
    inner: Arc<DeviceInner>,
    dacl: Dacl,
    /// Whether its driver is being unloaded, so that opens fail.
    is_going: bool,
}

/// Returns a name in the form in which names are compared: `\DosDevices` and `\GLOBAL??` are other names of `\??`, `Global` below
/// it is one, and `\\.` is the Win32 name of it.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/local-and-global-ms-dos-device-names)
fn canonical(name: &str) -> String {
    let name = name.to_lowercase();
    let rest = [r"\dosdevices\", r"\\.\", r"\global??\", r"\??\"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    let rest = rest.map(|rest| rest.strip_prefix(r"global\").unwrap_or(rest));
    rest.map_or(name.clone(), |rest| format!(r"\??\{rest}"))
}

impl Namespace {
    /// Names a device object that is made.
    pub(crate) fn add_device(
        &self,
        name: &str,
        create: impl FnOnce() -> *mut DEVICE_OBJECT,
    ) -> Result<*mut DEVICE_OBJECT, NTSTATUS> {
        if !name.starts_with('\\') {
            return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
        }
        let mut devices = locked(&self.devices);
        let name = canonical(name);
        if devices.contains_key(&name) {
            return Err(STATUS_OBJECT_NAME_COLLISION);
        }
        let object = create();
        let named = NamedDevice {
            object: object.expose_provenance(),
            inner: DeviceInner::new(object, object),
            dacl: Dacl::default(),
            is_going: false,
        };
        devices.insert(name, named);
        Ok(object)
    }

    /// Removes the name of a device object that is deleted.
    pub(crate) fn remove_device(&self, object: usize) {
        locked(&self.devices).retain(|_, device| device.object != object);
    }

    fn change(&self, object: usize, change: impl FnOnce(&mut NamedDevice)) {
        let mut devices = locked(&self.devices);
        let mut devices = devices.values_mut();
        if let Some(device) = devices.find(|device| device.object == object) {
            change(device);
        }
    }

    /// Records that a device object was attached to the stack of a device, if it has a name: files that are opened by the name
    /// are files of that device.
    pub(crate) fn attach(&self, object: usize, inner: &Arc<DeviceInner>) {
        self.change(object, |device| device.inner = Arc::clone(inner));
    }

    pub(crate) fn set_dacl(&self, object: usize, dacl: Dacl) {
        self.change(object, |device| device.dacl = dacl);
    }

    /// Checks that a user, or the kernel if there is none, may open a name with these rights, and counts a file of its device. Returns
    /// also the address of the device object, and what follows its name.
    pub(crate) fn admit(
        &self,
        opened: &str,
        rights: u32,
        user: Option<User>,
    ) -> Result<(Arc<DeviceInner>, usize, String), NTSTATUS> {
        let name = canonical(opened);
        let links = locked(&self.links);
        let linked = links
            .iter()
            .find_map(|(link, target)| Some(format!("{target}{}", below(&name, link)?)));
        let name = linked.unwrap_or(name);
        drop(links);
        let devices = locked(&self.devices);
        let found = devices
            .iter()
            .find_map(|(device, named)| Some((named, below(&name, device)?)));
        let (device, rest) = found.ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
        let object = std::ptr::with_exposed_provenance::<DEVICE_OBJECT>(device.object);
        // SAFETY: the memory of a device object stays as long as the kernel.
        let flags = unsafe { (*object).Flags };
        if flags & DO_DEVICE_INITIALIZING != 0 || device.is_going {
            return Err(STATUS_NO_SUCH_DEVICE);
        }
        // SAFETY: as above.
        let characteristics = unsafe { (*object).Characteristics };
        // Without FILE_DEVICE_SECURE_OPEN the driver itself checks who opens a name below its device.
        let is_checked = rest.is_empty() || characteristics & FILE_DEVICE_SECURE_OPEN != 0;
        let allows = |user| device.dacl.allows(user, rights);
        if is_checked && !user.is_none_or(allows) {
            return Err(STATUS_ACCESS_DENIED);
        }
        if flags & DO_EXCLUSIVE != 0 && device.inner.open_files() != 0 {
            return Err(STATUS_ACCESS_DENIED);
        }
        device.inner.file_opened();
        // In the case that the caller passed.
        let given = opened.chars().count().saturating_sub(rest.chars().count());
        let rest = opened.chars().skip(given).collect();
        Ok((Arc::clone(&device.inner), device.object, rest))
    }
}

/// Returns the rest of a name that starts with the name of an object.
fn below<'a>(name: &'a str, object: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(object)?;
    (rest.is_empty() || rest.starts_with('\\')).then_some(rest)
}

impl Kernel {
    /// Opens a device by its name, such as `\\.\Name` or `\Device\Name`, as a user (`NtCreateFile`).
    ///
    /// # Errors
    /// `STATUS_OBJECT_NAME_NOT_FOUND` if no object has that name, `STATUS_NO_SUCH_DEVICE` if the device is not initialised yet or
    /// its driver is being unloaded, `STATUS_ACCESS_DENIED` if the user may not have the access or the device is exclusive and open, and the errors
    /// of the driver.
    pub fn open_device(
        self: &Arc<Self>,
        name: &str,
        access: Access,
        user: User,
    ) -> Result<File, NTSTATUS> {
        let _attached = Attached::to(self);
        let call = Call::enter_shared("NtCreateFile");
        call.switch_after("NtCreateFile", std::ptr::null::<u8>());
        let namespace = &self.io().namespace;
        let (device, object, name) = namespace.admit(name, access.rights(), Some(user))?;
        let opening = Opening {
            name,
            object: Some(object),
            ..Opening::of_user(access)
        };
        let opened = File::open(&call, self, &device, &opening);
        device.file_closed(&call);
        opened
    }
}

impl Call {
    /// Makes the named devices of a driver refuse opens, and waits until their last files are closed. The I/O manager calls
    /// an Unload routine only then.
    pub(in crate::io) fn wait_until_closed(&self, objects: &[usize]) {
        let namespace = &self.kernel.io().namespace;
        for object in objects {
            let mut named = None;
            namespace.change(*object, |device| {
                device.is_going = true;
                named = Some(Arc::clone(&device.inner));
            });
            if let Some(device) = named {
                self.wait_for(Wait::Closed(device.object().addr()), || {
                    (device.open_files() == 0).then_some(())
                });
            }
        }
    }

    /// Stops the system if a driver that is unloaded has left a symbolic link to a deleted device.
    pub(in crate::io) fn require_no_symbolic_link(&self) {
        let namespace = &self.kernel.io().namespace;
        let devices = locked(&namespace.devices);
        let links = locked(&namespace.links);
        let left = links
            .iter()
            .find(|(_, target)| !devices.contains_key(*target));
        self.require(left.is_none(), Rule::SymbolicLink, || {
            let (link, target) = left
                .map(|(link, target)| (&**link, &**target))
                .unwrap_or_default();
            format!(
                "the driver is unloaded, and its symbolic link {link} to {target} was not deleted"
            )
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocreatesymboliclink)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCreateSymbolicLink(
    link: *mut UNICODE_STRING,
    device: *mut UNICODE_STRING,
) -> NTSTATUS {
    create_link(&Call::enter_shared("IoCreateSymbolicLink"), link, device)
}

/// A link that every user may change. The model has no security of links.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iocreateunprotectedsymboliclink)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCreateUnprotectedSymbolicLink(
    link: *mut UNICODE_STRING,
    device: *mut UNICODE_STRING,
) -> NTSTATUS {
    let call = Call::enter_shared("IoCreateUnprotectedSymbolicLink");
    create_link(&call, link, device)
}

fn create_link(call: &Call, link: *mut UNICODE_STRING, device: *mut UNICODE_STRING) -> NTSTATUS {
    call.require_at_most(0, Rule::IrqlIoPassive4, 0x2_000d);
    call.require_room(link);
    call.require_room(device);
    // SAFETY: the caller gives a name.
    let link = unsafe { call.text(link) };
    // SAFETY: as above.
    let device = unsafe { call.text(device) };
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let mut links = locked(&call.kernel.io().namespace.links);
    let link = canonical(&link);
    if links.contains_key(&link) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    links.insert(link, canonical(&device));
    drop(links);
    call.switch_after(call.routine(), std::ptr::null::<u8>());
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iodeletesymboliclink)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoDeleteSymbolicLink(link: *mut UNICODE_STRING) -> NTSTATUS {
    let call = Call::enter_shared("IoDeleteSymbolicLink");
    call.require_at_most(0, Rule::IrqlIoPassive4, 0x2_000d);
    call.require_room(link);
    // SAFETY: the caller gives a name.
    let link = unsafe { call.text(link) };
    let removed = locked(&call.kernel.io().namespace.links).remove(&canonical(&link));
    call.switch_after("IoDeleteSymbolicLink", std::ptr::null::<u8>());
    removed.map_or(STATUS_OBJECT_NAME_NOT_FOUND, |_| STATUS_SUCCESS)
}
