//! The imports of an image that are not the model's routines: functions that compilers call, and routines with a variable
//! number of arguments.

use std::{
    arch::naked_asm,
    ffi::{c_char, c_void},
    slice::from_raw_parts,
};

use nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, UNICODE_STRING};

use super::{lookaside, routines};
use crate::image::UPCALLS;

/// The routines that WMILIB.SYS exports, and not ntoskrnl.exe.
pub(super) const WMI_LIBRARY: [&str; 3] =
    ["WmiCompleteRequest", "WmiFireEvent", "WmiSystemControl"];

/// Returns the names, and the address that an image calls for each.
pub(super) fn others() -> Vec<(&'static str, usize)> {
    let mut all = vec![
        ("DbgPrint", dbg_print as *const () as usize),
        ("DbgPrintEx", dbg_print_ex as *const () as usize),
        ("vDbgPrintEx", v_dbg_print_ex as *const () as usize),
        (
            "ExInitializeLookasideListEx",
            lookaside::initialise as *const () as usize,
        ),
        (
            "ExDeleteLookasideListEx",
            lookaside::delete as *const () as usize,
        ),
        (
            "ExInitializeNPagedLookasideList",
            lookaside::initialise_nonpaged as *const () as usize,
        ),
        (
            "ExDeleteNPagedLookasideList",
            lookaside::delete_nonpaged as *const () as usize,
        ),
        (
            "ExInitializePagedLookasideList",
            lookaside::initialise_paged as *const () as usize,
        ),
        (
            "ExDeletePagedLookasideList",
            lookaside::delete_paged as *const () as usize,
        ),
        ("IoCreateDeviceSecure", create_device_secure()),
        ("WmiCompleteRequest", wmi_complete_request()),
        ("WmiFireEvent", wmi_fire_event()),
        ("WmiSystemControl", wmi_system_control()),
        (
            "__C_specific_handler",
            c_specific_handler as *const () as usize,
        ),
        ("__chkstk", chkstk as *const () as usize),
        ("memcmp", memcmp as *const () as usize),
        ("memcpy", memmove as *const () as usize),
        ("memmove", memmove as *const () as usize),
        ("memset", memset as *const () as usize),
    ];
    all.extend(variables());
    all
}

/// The variables, whose addresses an image imports.
fn variables() -> impl Iterator<Item = (&'static str, usize)> {
    let types = [
        ("ExEventObjectType", &raw const nt::ExEventObjectType),
        ("IoDeviceObjectType", &raw const nt::IoDeviceObjectType),
        ("IoDriverObjectType", &raw const nt::IoDriverObjectType),
        ("IoFileObjectType", &raw const nt::IoFileObjectType),
        (
            "PsInitialSystemProcess",
            &raw const nt::PsInitialSystemProcess,
        ),
        ("PsProcessType", &raw const nt::PsProcessType),
        ("PsThreadType", &raw const nt::PsThreadType),
        ("SeTokenObjectType", &raw const nt::SeTokenObjectType),
    ];
    let bytes = [
        ("KdDebuggerEnabled", &raw const nt::KdDebuggerEnabled),
        ("KdDebuggerNotPresent", &raw const nt::KdDebuggerNotPresent),
        (
            "KeNumberProcessors",
            (&raw const nt::KeNumberProcessors).cast(),
        ),
    ];
    let bytes = bytes.map(|(name, variable)| (name, variable.expose_provenance()));
    let types = types.map(|(name, variable)| (name, variable.expose_provenance()));
    types.into_iter().chain(bytes)
}

/// The check and the dispatch routine of control flow guard. They allow every call, as in a kernel without it.
pub(super) fn guard() -> [usize; 2] {
    [
        guard_check as *const () as usize,
        guard_dispatch as *const () as usize,
    ]
}

/// Returns the address of the dispatch routine of the requests for which an image sets none.
pub(crate) fn default_dispatch() -> usize {
    invalid_request as *const () as usize
}

extern "win64" fn invalid_request(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let Some(upcalls) = UPCALLS.get() else {
        std::process::abort()
    };
    // SAFETY: the image passes its own IRP.
    unsafe { (upcalls.invalid_request)(device, irp) }
}

#[unsafe(naked)]
extern "win64" fn guard_check() {
    naked_asm!("ret")
}

#[unsafe(naked)]
extern "win64" fn guard_dispatch() {
    naked_asm!("jmp rax")
}

/// `__chkstk` changes no register, and the host's stacks need not be touched page by page.
#[unsafe(naked)]
extern "win64" fn chkstk() {
    naked_asm!("ret")
}

unsafe extern "C" {
    /// In no import library, so `nt` does not declare it: wdmsec.lib asks for its address.
    fn IoCreateDeviceSecure(
        driver: *mut DRIVER_OBJECT,
        extension_size: u32,
        name: *mut UNICODE_STRING,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        security: *const UNICODE_STRING,
        class: *const c_void,
        device: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
    /// Exports of WMILIB.SYS, which `nt` does not declare since they are not the kernel's.
    fn WmiCompleteRequest(
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        status: NTSTATUS,
        used: u32,
        boost: i8,
    ) -> NTSTATUS;
    fn WmiFireEvent(
        device: *mut DEVICE_OBJECT,
        guid: *const c_void,
        instance: u32,
        size: u32,
        data: *mut c_void,
    ) -> NTSTATUS;
    fn WmiSystemControl(
        library: *mut c_void,
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        disposition: *mut i32,
    ) -> NTSTATUS;
}

fn wmi_complete_request() -> usize {
    routines::address(|device, irp, status, used, boost| {
        // SAFETY: the image follows the routine's documentation, which the code that loads it guarantees.
        unsafe { WmiCompleteRequest(device, irp, status, used, boost) }
    })
}

fn wmi_fire_event() -> usize {
    routines::address(|device, guid, instance, size, data| {
        // SAFETY: as above.
        unsafe { WmiFireEvent(device, guid, instance, size, data) }
    })
}

fn wmi_system_control() -> usize {
    routines::address(|library, device, irp, disposition| {
        // SAFETY: as above.
        unsafe { WmiSystemControl(library, device, irp, disposition) }
    })
}

fn create_device_secure() -> usize {
    routines::address(
        |driver, extension, name, kind, characteristics, exclusive, security, class, device| {
            // SAFETY: the image follows the routine's documentation, which the code that loads it guarantees.
            unsafe {
                IoCreateDeviceSecure(
                    driver,
                    extension,
                    name,
                    kind,
                    characteristics,
                    exclusive,
                    security,
                    class,
                    device,
                )
            }
        },
    )
}

/// Exceptions are not modelled: any code that would raise one is a violation before that.
extern "win64" fn c_specific_handler() -> ! {
    std::process::abort()
}

extern "win64" fn memmove(to: *mut c_void, from: *const c_void, length: usize) -> *mut c_void {
    // SAFETY: the image gives memory of this length.
    unsafe { std::ptr::copy(from.cast::<u8>(), to.cast::<u8>(), length) };
    to
}

extern "win64" fn memset(to: *mut c_void, value: i32, length: usize) -> *mut c_void {
    let [byte, ..] = value.to_le_bytes();
    // SAFETY: the image gives memory of this length.
    unsafe { to.cast::<u8>().write_bytes(byte, length) };
    to
}

extern "win64" fn memcmp(one: *const c_void, other: *const c_void, length: usize) -> i32 {
    // SAFETY: the image gives memory of this length.
    let [one, other] =
        [one, other].map(|memory| unsafe { from_raw_parts(memory.cast::<u8>(), length) });
    one.cmp(other) as i32
}

/// After the fourth parameter every argument of the convention is on the stack, whether it is named or not. The routine can
/// read more arguments than the image has passed, which are then other values on the stack of the image.
#[expect(
    clippy::many_single_char_names,
    reason = "they are the arguments of a format, which have no names"
)]
extern "win64" fn dbg_print(
    format: *const c_char,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
) -> u32 {
    // SAFETY: the arguments are those of the format.
    unsafe { nt::DbgPrint(format, a, b, c, d, e, f, g, h) }
}

#[expect(
    clippy::many_single_char_names,
    reason = "they are the arguments of a format, which have no names"
)]
extern "win64" fn dbg_print_ex(
    component: u32,
    level: u32,
    format: *const c_char,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
) -> u32 {
    // SAFETY: the arguments are those of the format.
    unsafe { nt::DbgPrintEx(component, level, format, a, b, c, d, e, f, g, h) }
}

/// A `va_list` of the convention is the address of the arguments, in a quadword each.
extern "win64" fn v_dbg_print_ex(
    component: u32,
    level: u32,
    format: *const c_char,
    arguments: *const [u64; 8],
) -> u32 {
    // SAFETY: the arguments are on the stack of the image. The last ones can be other values there.
    let of = unsafe { arguments.read() };
    dbg_print_ex(
        component, level, format, of[0], of[1], of[2], of[3], of[4], of[5], of[6], of[7],
    )
}
