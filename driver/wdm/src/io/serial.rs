//! The I/O control codes with which a driver calls a serial port below its own.
//!
//! They are constants, since a [`ControlCode`] is declared by an unsafe function. The buffers of these codes have numbers, not addresses.
//!
//! WDK: [ntddser.h header](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddser/).

use ctl_code::{Access, Method, ctl_code};

use crate::ControlCode;

/// `FILE_DEVICE_SERIAL_PORT`
const SERIAL_PORT: u32 = 0x1b;

/// Defines codes by their functions.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $function:literal),* $(,)?) => {
        $(
            $(#[$doc])*
            pub const $name: ControlCode = {
                let code = ctl_code(SERIAL_PORT, $function, Method::Buffered, Access::Any);
                // SAFETY: Microsoft assigns the device type, and its pages say that the buffers have numbers. A program can send the code
                // too, with any bytes. The internal codes with these functions have no addresses in their buffers either.
                unsafe { ControlCode::new(code) }
            };
        )*
    };
}

codes! {
    /// Sets the baud rate. The input is a `u32`.
    #[doc(alias = "IOCTL_SERIAL_SET_BAUD_RATE")]
    SET_BAUD_RATE = 1,
    /// Sets the number of stop bits, the parity and the number of data bits. The input is a byte for each.
    #[doc(alias = "IOCTL_SERIAL_SET_LINE_CONTROL")]
    SET_LINE_CONTROL = 3,
    /// Sets the signal DTR (data terminal ready).
    #[doc(alias = "IOCTL_SERIAL_SET_DTR")]
    SET_DTR = 9,
    /// Clears the signal DTR.
    #[doc(alias = "IOCTL_SERIAL_CLR_DTR")]
    CLR_DTR = 10,
    /// Sets the signal RTS (request to send).
    #[doc(alias = "IOCTL_SERIAL_SET_RTS")]
    SET_RTS = 12,
    /// Clears the signal RTS.
    #[doc(alias = "IOCTL_SERIAL_CLR_RTS")]
    CLR_RTS = 13,
    /// Sets the mask of the events for [`WAIT_ON_MASK`]. The input is a `u32`. A pending wait is completed with an output of 0.
    #[doc(alias = "IOCTL_SERIAL_SET_WAIT_MASK")]
    SET_WAIT_MASK = 17,
    /// Waits for an event. The output is a `u32` with the events that have occurred.
    #[doc(alias = "IOCTL_SERIAL_WAIT_ON_MASK")]
    WAIT_ON_MASK = 18,
    /// Discards data or cancels reads and writes. The input is a `u32` with the flags.
    #[doc(alias = "IOCTL_SERIAL_PURGE")]
    PURGE = 19,
}
