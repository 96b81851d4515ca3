//! A control device: it belongs to no hardware, has a name, and is made when the driver is loaded.
//!
//! It corresponds to the sample `general/ioctl/wdm` of the WDK, with its IOCTL for buffered I/O: the driver prints the text
//! that it gets, and returns its own.

#![no_std]
#![forbid(unsafe_code)]

use pinned_init::PinInit;
use wdm::{
    ControlDevice, Device, Error, Handled, Irp, NewDevice, NtStatus, PassiveLevel,
    log::{self, Level},
};

/// The code of the IOCTL: `CTL_CODE(40000, 0x902, METHOD_BUFFERED, FILE_ANY_ACCESS)`.
pub const IOCTL_EXCHANGE: u32 = 40000 << 16 | 0x902 << 2;

/// The text that the driver returns.
pub const ANSWER: &[u8] = b"This text is from the driver.\0";

/// The device.
pub struct Control;

impl ControlDevice for Control {
    const NAME: &str = "InterlockControl";
}

impl Device for Control {
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.code() != IOCTL_EXCHANGE {
            return irp.complete(Error::INVALID_DEVICE_REQUEST, irql);
        }
        let text = match irp.input_bytes() {
            Ok(text) if !text.is_empty() && irp.output_length() != 0 => text,
            _ => return irp.complete(Error::INVALID_PARAMETER, irql),
        };
        let message = format_args!("control: {}", text.escape_ascii());
        log::write(Level::Info, irql, message);
        let mut reply = irp.reply();
        reply.append(ANSWER);
        reply.complete(NtStatus::SUCCESS, irql)
    }
}
