//! The buffers of a request with `METHOD_NEITHER`, which the driver accesses at the user-mode addresses.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-neither-buffered-nor-direct-i-o)

use std::{ffi::c_void, ptr::null_mut, sync::Arc};

use crate::{
    host::{
        Call, Kernel,
        special::{self, Contents},
        thread::Attached,
    },
    io::{
        irp::{IrpParameters, IrpRecord},
        system_buffer::Memory,
    },
    verifier::{BugCheck, KMODE_EXCEPTION_NOT_HANDLED, Rule},
};

/// The exceptions that the routines raise.
const STATUS_DATATYPE_MISALIGNMENT: u64 = 0x8000_0002;
const STATUS_ACCESS_VIOLATION: u64 = 0xc000_0005;

/// The first address after user mode's part of the address space.
const END_OF_USER_SPACE: usize = 0x7fff_ffff_0000;

/// User-mode pages.
struct Pages {
    memory: Memory,
    length: usize,
}

impl Pages {
    fn new(bytes: &[u8], mode: i8) -> Self {
        let this = Self {
            memory: Memory::new(bytes.len()),
            length: bytes.len(),
        };
        // SAFETY: the memory is as long, and no other thread knows it yet.
        unsafe { this.start().copy_from(bytes.as_ptr(), bytes.len()) };
        // A driver need not probe a buffer of another driver.
        if mode != 0 {
            special::set_contents(this.start().addr(), Contents::User);
        }
        this
    }

    fn start(&self) -> *mut u8 {
        self.memory.start()
    }

    /// Returns the content, which the driver does not change at the same time.
    fn bytes(&self) -> Vec<u8> {
        // SAFETY: the pages are as long.
        unsafe { std::slice::from_raw_parts(self.start(), self.length) }.to_vec()
    }

    /// Returns the address that user mode passes; NULL if it passes no buffer.
    fn address(&self) -> *mut c_void {
        if self.length == 0 {
            return null_mut();
        }
        self.start().cast()
    }
}

/// Memory of a program, whose address a test puts into a request: a pointer in a buffer.
///
/// The driver finds it at its address as long as this value exists. The model checks its accesses as those to a buffer of
/// `METHOD_NEITHER`, on Linux and up to a page.
pub struct UserMemory(Pages);

impl UserMemory {
    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> usize {
        self.0.start().expose_provenance()
    }

    /// Returns the content.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let contents = special::contents(self.address());
        let bytes = self.0.bytes();
        // A page that was not probed is closed again.
        if contents == Some(Contents::User) {
            special::set_contents(self.address(), Contents::User);
        }
        bytes
    }
}

impl std::fmt::Debug for UserMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes at {:#x}", self.0.length, self.address())
    }
}

impl Kernel {
    /// Allocates memory of a program with this content.
    #[must_use]
    pub fn user_memory(self: &Arc<Self>, bytes: &[u8]) -> UserMemory {
        let _attached = Attached::to(self);
        UserMemory(Pages::new(bytes, 1))
    }
}

/// The input and the output buffer of a request.
pub(in crate::io) struct UserBuffers {
    input: Pages,
    output: Pages,
}

impl UserBuffers {
    /// Makes the buffers of a request. Returns `None` if the device of the request uses other buffers.
    pub(in crate::io) fn new(
        parameters: &IrpParameters,
        input: &[u8],
        output: &[u8],
        mode: i8,
    ) -> Option<Self> {
        let is_control = matches!(
            parameters.major,
            nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_INTERNAL_DEVICE_CONTROL
        );
        (is_control && parameters.code & 3 == nt::METHOD_NEITHER).then(|| Self {
            input: Pages::new(input, mode),
            output: Pages::new(output, mode),
        })
    }

    /// `Parameters.DeviceIoControl.Type3InputBuffer`
    pub(in crate::io) fn input(&self) -> *mut c_void {
        self.input.address()
    }

    /// `UserBuffer`
    pub(in crate::io) fn output(&self) -> *mut c_void {
        self.output.address()
    }

    /// Returns the content of the output buffer after the request has ended.
    pub(in crate::io) fn written(&self) -> Vec<u8> {
        self.output.bytes()
    }
}

impl IrpRecord {
    /// Returns a clause that states where in a user-mode buffer an address is.
    pub(in crate::io) fn describe_user_buffer(&self, address: usize) -> Option<String> {
        let UserBuffers { input, output } = self.user.as_ref()?;
        let pages = [(input, "Type3InputBuffer"), (output, "UserBuffer")];
        pages.iter().find_map(|(pages, name)| {
            // The address of a buffer in other memory is unknown, as that of a user's memory is.
            special::end(pages.start().addr())?;
            let offset = pages.memory.offset(pages.length, address)?;
            let length = pages.length;
            Some(format!(
                "byte {offset} of the {name} of {self}, which has {length} bytes"
            ))
        })
    }
}

impl Call {
    /// Stops the system if a driver locks the pages of a user-mode buffer in another context, or without a probe. Then any
    /// thread may access them, by the address in system space; the model has one address for both.
    pub(in crate::io) fn lock_user_buffer(&self, buffer: usize, mode: i8) {
        let contents = special::contents(buffer);
        let stop = |why: &str| {
            let once = self.once(buffer);
            let what = format!("the pages at {buffer:#x} are locked {why}{once}");
            self.stop(BugCheck::NONE, Rule::UserBuffer, what)
        };
        if let Some(Contents::Paged | Contents::User | Contents::Probed) = contents
            && self.irql() >= nt::DISPATCH_LEVEL
        {
            stop("at DISPATCH_LEVEL or higher, and are pageable");
        }
        if contents == Some(Contents::Paged) {
            special::set_contents(buffer, Contents::Nonpaged);
        }
        let Some(contents @ (Contents::User | Contents::Probed)) = contents else {
            return;
        };
        if !self.has_user_memory() {
            stop("in a system thread, whose process is another one");
        }
        if mode == 0 && contents == Contents::User {
            stop("with KernelMode, so they are not probed: pass Irp->RequestorMode");
        }
        special::set_contents(buffer, Contents::Nonpaged);
    }

    fn raise(&self, status: u64, address: usize, why: &str) -> ! {
        let bug_check = BugCheck(KMODE_EXCEPTION_NOT_HANDLED, [status, 0, 0, address as u64]);
        let what =
            format!("the exception {status:#x} is raised, which the model cannot deliver: {why}");
        self.stop(bug_check, Rule::Exception, what)
    }

    /// `ProbeForRead` and `ProbeForWrite`.
    fn probe(&self, address: usize, length: usize, alignment: u32) {
        self.require_at_most(1, Rule::IrqlExApcLte2, 0x2_0006);
        if length == 0 {
            return;
        }
        if !address.is_multiple_of(alignment.max(1) as usize) {
            let why = format!("{address:#x} is not a multiple of {alignment}");
            self.raise(STATUS_DATATYPE_MISALIGNMENT, address, &why);
        }
        let end = address.checked_add(length);
        if end.is_none_or(|end| end > END_OF_USER_SPACE) {
            let why = format!(
                "{length} bytes at {address:#x} are not in user mode's part of the address space"
            );
            self.raise(STATUS_ACCESS_VIOLATION, address, &why);
        }
        let contents = special::contents(address);
        let is_user = matches!(contents, Some(Contents::User | Contents::Probed));
        // The model has one address space. Memory that it knows is the kernel's.
        let known = self.once(address);
        if !is_user && !known.is_empty() {
            let why = format!("{address:#x} is not a user-mode address{known}");
            self.raise(STATUS_ACCESS_VIOLATION, address, &why);
        }
        self.require(self.has_user_memory(), Rule::Pointer, || {
            format!(
                "{address:#x} is an address of the process that has sent a request, but the thread is a system thread, \
                 in another process"
            )
        });
        if contents == Some(Contents::User) {
            special::set_contents(address, Contents::Probed);
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-probeforread)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ProbeForRead(address: *const c_void, length: usize, alignment: u32) {
    Call::enter_noted("ProbeForRead").probe(address.addr(), length, alignment);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-probeforwrite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ProbeForWrite(address: *mut c_void, length: usize, alignment: u32) {
    let call = Call::enter_noted("ProbeForWrite");
    call.probe(address.addr(), length, alignment);
    if length != 0 && address.is_null() {
        call.raise(STATUS_ACCESS_VIOLATION, 0, "a NULL buffer is written");
    }
}
