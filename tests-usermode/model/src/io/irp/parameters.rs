//! The parameters of the I/O manager's IRPs.

use std::{cell::UnsafeCell, ptr::null_mut};

use crate::{
    host::{Call, layout::DeviceIoControl},
    io::{
        bus::IRP_MN_WAIT_WAKE,
        irp::{IrpParameters, IrpRecord, zeroed},
        user_buffer::UserBuffers,
    },
};

/// `IO_SECURITY_CONTEXT`
#[repr(C)]
struct SecurityContext {
    quality_of_service: usize,
    access_state: usize,
    desired_access: u32,
    full_create_options: u32,
}

/// `DEVICE_CAPABILITIES`
#[repr(C)]
struct Capabilities {
    size: u16,
    version: u16,
    flags: u32,
    address: u32,
    ui_number: u32,
    device_state: [u32; 7],
    /// What a device needs to wake the system, and its latencies.
    others: [u32; 5],
}

const CAPABILITIES_SIZE: u16 = 64;

const _: () = assert!(size_of::<Capabilities>() == CAPABILITIES_SIZE as usize);

/// `PowerDeviceD0` for `PowerSystemWorking`, and `PowerDeviceD3` for the states in which the system sleeps.
const DEVICE_STATES: [u32; 7] = [0, 1, 4, 4, 4, 4, 4];

/// `FILE_OPEN`, the disposition, in the high byte of `Parameters.Create.Options`.
const FILE_OPEN: u32 = 1 << 24;

/// `FILE_SHARE_READ`, `FILE_SHARE_WRITE` and `FILE_SHARE_DELETE`, in `Parameters.Create.ShareAccess`.
const SHARE_ALL: u32 = 7 << 16;

/// Makes the structure that the parameters of a request point to, if any: that of
/// [`IRP_MJ_CREATE`](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mj-create) or
/// [`IRP_MN_QUERY_CAPABILITIES`](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-capabilities).
pub(super) fn pointed_to(parameters: &IrpParameters) -> Option<Box<UnsafeCell<[u128]>>> {
    match (parameters.major, parameters.minor) {
        (nt::IRP_MJ_CREATE, _) => {
            let memory = zeroed(size_of::<SecurityContext>());
            let context = SecurityContext {
                quality_of_service: 0,
                access_state: 0,
                desired_access: parameters.code,
                full_create_options: FILE_OPEN,
            };
            // SAFETY: the memory is long enough and aligned.
            unsafe { memory.get().cast::<SecurityContext>().write(context) };
            Some(memory)
        }
        (nt::IRP_MJ_PNP, nt::IRP_MN_QUERY_CAPABILITIES) => {
            let memory = zeroed(CAPABILITIES_SIZE.into());
            let capabilities = Capabilities {
                size: CAPABILITIES_SIZE,
                version: 1,
                flags: 0,
                address: u32::MAX,
                ui_number: u32::MAX,
                device_state: [0; 7],
                others: [0; 5],
            };
            // SAFETY: as above.
            unsafe { memory.get().cast::<Capabilities>().write(capabilities) };
            Some(memory)
        }
        _ => None,
    }
}

/// `IRP_CREATE_OPERATION`, `IRP_READ_OPERATION`, `IRP_WRITE_OPERATION` and `IRP_CLOSE_OPERATION`
const CREATE_OPERATION: u32 = 0x80;
const READ_OPERATION: u32 = 0x100;
const WRITE_OPERATION: u32 = 0x200;
const CLOSE_OPERATION: u32 = 0x400;

impl IrpParameters {
    /// Returns the flags with which the I/O manager makes the IRP.
    pub(super) fn flags(&self) -> u32 {
        let operation = match self.major {
            nt::IRP_MJ_CREATE => CREATE_OPERATION,
            nt::IRP_MJ_READ => READ_OPERATION,
            nt::IRP_MJ_WRITE => WRITE_OPERATION,
            nt::IRP_MJ_CLOSE => CLOSE_OPERATION,
            _ => 0,
        };
        let buffers = match self.buffered_lengths() {
            (0, 0) => 0,
            (_, 0) => nt::IRP_BUFFERED_IO | nt::IRP_DEALLOCATE_BUFFER,
            _ => nt::IRP_BUFFERED_IO | nt::IRP_DEALLOCATE_BUFFER | nt::IRP_INPUT_OPERATION,
        };
        operation | buffers
    }
}

impl IrpRecord {
    /// Returns the bits of the capabilities that the drivers have reported in an `IRP_MN_QUERY_CAPABILITIES`, which has ended.
    pub(in crate::io) fn capabilities(&self) -> u32 {
        self.pointed_to.as_ref().map_or(0, |memory| {
            // SAFETY: the memory is that of the structure, which drivers no longer write.
            unsafe { (*memory.get().cast::<Capabilities>()).flags }
        })
    }

    /// Returns what a driver that sends an `IRP_MN_QUERY_CAPABILITIES` has not initialised in the structure that the parameters of a
    /// stack location point to, with the code of bug check 0xC9.
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-capabilities)
    pub(in crate::io) fn uninitialised_capabilities(
        &self,
        call: &Call,
        location: i8,
    ) -> Option<(u64, &'static str)> {
        let location = self.location(location);
        // SAFETY: only the address is computed, inside the memory of the IRP.
        let parameters = unsafe { &raw const (*location).Parameters }.cast::<*mut Capabilities>();
        // SAFETY: the parameters of the request start with the pointer.
        let capabilities = unsafe { parameters.read() };
        call.require_room(capabilities);
        // SAFETY: the driver passes the structure.
        let capabilities = unsafe { &*capabilities };
        [
            (capabilities.version == 1, 0x233, "Version to 1"),
            (
                capabilities.size >= CAPABILITIES_SIZE,
                0x234,
                "Size to that of DEVICE_CAPABILITIES",
            ),
            (capabilities.address == u32::MAX, 0x235, "Address to -1"),
            (capabilities.ui_number == u32::MAX, 0x236, "UINumber to -1"),
        ]
        .into_iter()
        .find_map(|(is_set, code, what)| (!is_set).then_some((code, what)))
    }

    /// Fills in the device state for each system state in an `IRP_MN_QUERY_CAPABILITIES`, as the bus driver or the ACPI filter does,
    /// where a driver above has left it zero.
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/devicestate)
    pub(in crate::io) fn give_device_states(&self) {
        let parameter = (&raw const self.stack().Parameters).cast::<*mut Capabilities>();
        // SAFETY: the parameters of the request start with the pointer.
        let capabilities = unsafe { parameter.read() };
        // SAFETY: the sender of the request has passed NULL or the structure, which stays until the request ends.
        let Some(capabilities) = (unsafe { capabilities.as_mut() }) else {
            return;
        };
        for (state, of_bus) in capabilities.device_state.iter_mut().zip(DEVICE_STATES) {
            if *state == 0 {
                *state = of_bus;
            }
        }
    }

    /// Returns the parameters of the first stack location.
    pub(super) fn first_parameters(&self) -> DeviceIoControl {
        let IrpParameters {
            input_length,
            output_length,
            offset,
            power: (kind, state),
            code,
            ..
        } = self.parameters;
        let pointed_to = self.pointed_to.as_ref();
        let pointed_to = pointed_to.map_or(0, |memory| memory.get().expose_provenance());
        // Length, class and ByteOffset of Parameters.Read, Write, QueryFile and SetFile have the offsets of the output
        // length, the input length and the code in Parameters.DeviceIoControl; so have the last two Type and State of
        // Parameters.Power, and SecurityContext, Options and ShareAccess of Parameters.Create.
        let (output_length, input_length, code) = match self.parameters.major {
            nt::IRP_MJ_READ => (output_length, 0, offset.cast_unsigned()),
            nt::IRP_MJ_WRITE => (input_length, 0, offset.cast_unsigned()),
            nt::IRP_MJ_QUERY_INFORMATION => (output_length, code as usize, 0),
            nt::IRP_MJ_SET_INFORMATION => (input_length, code as usize, 0),
            // Parameters.WaitWake.PowerState
            nt::IRP_MJ_POWER if self.parameters.minor == IRP_MN_WAIT_WAKE => (state as usize, 0, 0),
            nt::IRP_MJ_POWER => (0, kind as usize, state.into()),
            nt::IRP_MJ_SYSTEM_CONTROL => (self.parameters.provider, 0, 0),
            nt::IRP_MJ_CREATE => (pointed_to, FILE_OPEN as usize, SHARE_ALL.into()),
            nt::IRP_MJ_PNP if self.parameters.resources != 0 => {
                (self.parameters.resources, self.parameters.resources, 0)
            }
            nt::IRP_MJ_PNP if pointed_to != 0 => (pointed_to, 0, 0),
            _ => (output_length, input_length, code.into()),
        };
        DeviceIoControl {
            output_length: output_length as u64,
            input_length: input_length as u64,
            code,
            type3_input: self.user.as_ref().map_or(null_mut(), UserBuffers::input),
        }
    }
}
