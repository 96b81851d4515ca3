//! The connection of a driver's service routine to an interrupt.
//!
//! Microsoft's pages:
//! [`IoConnectInterrupt`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioconnectinterrupt),
//! [`IoConnectInterruptEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioconnectinterruptex)

use std::ffi::c_void;

use nt::{
    CONNECT_FULLY_SPECIFIED, CONNECT_FULLY_SPECIFIED_GROUP, CONNECT_LINE_BASED,
    CONNECT_MESSAGE_BASED, DEVICE_OBJECT, DISPATCH_LEVEL,
    IO_CONNECT_INTERRUPT_MESSAGE_BASED_PARAMETERS, IO_CONNECT_INTERRUPT_PARAMETERS,
    IO_DISCONNECT_INTERRUPT_PARAMETERS, NTSTATUS, PKSERVICE_ROUTINE, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_SUCCESS,
};

use crate::{host::Call, ke::Connection};

/// `HIGH_LEVEL`
const HIGH_LEVEL: u8 = 15;

impl Call {
    /// Connects a routine to an interrupt with this IRQL; stores the interrupt object in `place`.
    fn connect(&self, connection: Connection, irql: u8, place: *mut *mut c_void) -> NTSTATUS {
        let highest = connection.irql;
        let is_irql = irql > DISPATCH_LEVEL && (irql..HIGH_LEVEL).contains(&highest);
        if !is_irql || connection.routine.is_none() {
            return STATUS_INVALID_PARAMETER;
        }
        if !connection.lock.is_null() {
            self.require_nonpaged(connection.lock);
        }
        self.require_room(place);
        if self.kernel.fails() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let object = self.connect_interrupt(connection);
        // SAFETY: the caller passes a variable for the object.
        unsafe { place.write(object) };
        // An interrupt can occur before the driver continues.
        self.switch_after(self.routine(), place);
        STATUS_SUCCESS
    }

    /// Connects a routine to the interrupt of a device.
    fn connect_line(&self, parameters: &LineBased, routine: PKSERVICE_ROUTINE) -> NTSTATUS {
        self.require_live_device(parameters.pdo);
        let interrupt = self.kernel.interrupt_of(parameters.pdo.addr());
        let Some((vector, irql)) = interrupt else {
            return STATUS_NOT_FOUND;
        };
        let connection = Connection {
            routine,
            context: parameters.context,
            lock: parameters.lock,
            vector,
            irql: irql.max(parameters.highest),
        };
        self.connect(connection, irql, parameters.place)
    }
}

/// The first members of `IO_CONNECT_INTERRUPT_PARAMETERS`, which every version has.
#[repr(C)]
struct LineBased {
    version: u32,
    pdo: *mut DEVICE_OBJECT,
    place: *mut *mut c_void,
    routine: PKSERVICE_ROUTINE,
    context: *mut c_void,
    lock: *mut nt::KSPIN_LOCK,
    highest: u8,
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoConnectInterrupt(
    place: *mut *mut c_void,
    routine: PKSERVICE_ROUTINE,
    context: *mut c_void,
    lock: *mut nt::KSPIN_LOCK,
    vector: u32,
    irql: u8,
    highest: u8,
    _mode: i32,
    _is_shared: u8,
    processors: usize,
    _saves_floating_point: u8,
) -> NTSTATUS {
    let call = Call::enter_shared("IoConnectInterrupt").at_most(0);
    if processors == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let connection = Connection {
        routine,
        context,
        lock,
        vector,
        irql: highest,
    };
    call.connect(connection, irql, place)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoConnectInterruptEx(parameters: *mut IO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS {
    let call = Call::enter_shared("IoConnectInterruptEx").at_most(0);
    call.require_room(parameters);
    // SAFETY: the caller passes the structure, whose version is its first member.
    let version = unsafe { &raw mut (*parameters).Version };
    // SAFETY: as above; every version has these members.
    let first = unsafe { parameters.cast::<LineBased>().read() };
    match first.version {
        CONNECT_FULLY_SPECIFIED | CONNECT_FULLY_SPECIFIED_GROUP => {
            // SAFETY: the structure has the members of this version; those of a group are not used.
            let all = unsafe { &*parameters };
            let connection = Connection {
                routine: first.routine,
                context: first.context,
                lock: first.lock,
                vector: all.Vector,
                irql: all.Irql.max(first.highest),
            };
            call.connect(connection, all.Irql, first.place)
        }
        CONNECT_LINE_BASED => call.connect_line(&first, first.routine),
        // No device of the model has message-signaled interrupts.
        CONNECT_MESSAGE_BASED => {
            let messages = parameters.cast::<IO_CONNECT_INTERRUPT_MESSAGE_BASED_PARAMETERS>();
            // SAFETY: the structure has the members of this version.
            let routine = unsafe { (*messages).FallBackServiceRoutine };
            if routine.is_none() {
                return STATUS_NOT_FOUND;
            }
            // SAFETY: as above.
            unsafe { version.write(CONNECT_LINE_BASED) };
            call.connect_line(&first, routine)
        }
        _ => STATUS_INVALID_PARAMETER,
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoDisconnectInterrupt(interrupt: *mut c_void) {
    let call = Call::enter_shared("IoDisconnectInterrupt").at_most(0);
    call.disconnect_interrupt(interrupt);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iodisconnectinterruptex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoDisconnectInterruptEx(parameters: *mut IO_DISCONNECT_INTERRUPT_PARAMETERS) {
    let call = Call::enter_shared("IoDisconnectInterruptEx").at_most(0);
    call.require_room(parameters);
    // SAFETY: the caller passes the structure.
    let object = unsafe { (*parameters).ConnectionContext };
    call.disconnect_interrupt(object);
}
