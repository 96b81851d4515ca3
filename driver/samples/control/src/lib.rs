//! A control device: it belongs to no hardware, has a name, and is made when the driver is loaded.
//!
//! It corresponds to the sample `general/ioctl/wdm` of the WDK, with its IOCTLs for buffered and for direct I/O: the driver prints
//! the text that it gets, and returns its own.

#![no_std]
#![forbid(unsafe_code)]

use pinned_init::PinInit;
use wdm::{
    ControlDevice, Device, Error, Handled, Irp, NewDevice, NtStatus, PassiveLevel, RegistryKey,
    ctl_code::{Access, Method, ctl_code},
    log::{self, Level, Part},
};

/// The device type of the codes, in the range that Microsoft does not reserve.
const TYPE: u32 = 40_000;

/// Sends a text and returns one. Both are copied.
pub const IOCTL_BUFFERED: u32 = ctl_code(TYPE, 0x902, Method::Buffered, Access::Any);
/// Sends two texts: one is copied, and one is in the caller's pages.
pub const IOCTL_IN_DIRECT: u32 = ctl_code(TYPE, 0x900, Method::InDirect, Access::Any);
/// Sends a text, which is copied, and returns one in the caller's pages.
pub const IOCTL_OUT_DIRECT: u32 = ctl_code(TYPE, 0x901, Method::OutDirect, Access::Any);

/// The text that the driver returns.
pub const ANSWER: &[u8] = b"This text is from the driver.\0";

/// How much of a text in the caller's pages is printed.
const PRINTED: usize = 80;

/// The device.
pub struct Control;

impl ControlDevice for Control {
    const NAME: &str = "InterlockControl";
}

impl Device for Control {
    type File = ();

    fn driver_entry(_: &RegistryKey<'_>, _: &mut PassiveLevel) -> Result<(), Error> {
        log::set_limit(Level::Info as u32);
        Ok(())
    }

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(
        &self,
        mut irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match irp.code() {
            IOCTL_BUFFERED | IOCTL_IN_DIRECT | IOCTL_OUT_DIRECT => {}
            _ => return irp.complete(Error::INVALID_DEVICE_REQUEST, irql),
        }
        match irp.input_bytes() {
            Ok(text) if !text.is_empty() => print("buffer", text, irql),
            _ => return irp.complete(Error::INVALID_PARAMETER, irql),
        }
        if irp.code() == IOCTL_IN_DIRECT {
            let mut text = [0; PRINTED];
            let copied = irp.user_buffer().and_then(|pages| {
                let length = pages.len().min(PRINTED);
                pages.copy_to(0, &mut text[..length])?;
                Ok(length)
            });
            return match copied {
                Ok(length) if length != 0 => {
                    print("pages", &text[..length], irql);
                    irp.complete(NtStatus::SUCCESS, irql)
                }
                Ok(_) => irp.complete(Error::INVALID_PARAMETER, irql),
                Err(error) => irp.complete(error, irql),
            };
        }
        if irp.output_length() == 0 {
            return irp.complete(Error::INVALID_PARAMETER, irql);
        }
        let mut reply = irp.reply();
        reply.append(ANSWER);
        reply.complete(NtStatus::SUCCESS, irql)
    }
}

/// Prints the caller's text, which can have any content.
fn print(place: &str, text: &[u8], irql: &mut PassiveLevel) {
    let line = [
        "control: ".into(),
        place.into(),
        ": ".into(),
        Part::Bytes(text),
    ];
    log::write(Level::Info, irql, &line);
}
