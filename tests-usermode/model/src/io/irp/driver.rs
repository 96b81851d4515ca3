//! IRPs that a driver makes: which driver has them, and the parameters that they were sent with.

use nt::DEVICE_OBJECT;

use crate::{
    host::layout::{DeviceIoControl, FREED},
    io::irp::{IO_TYPE_IRP, IrpParameters, IrpRecord, Memory, Origin, Visit},
    mutex::locked,
};

impl IrpRecord {
    /// Returns the parameters. For a driver's IRP these are the ones that it was last sent with.
    pub(crate) fn parameters(&self) -> IrpParameters {
        match self.origin {
            Origin::IoManager => self.parameters,
            _ => locked(&self.state).parameters,
        }
    }

    /// Returns whether the IRP was sent to a driver and has not returned to its creator.
    pub(crate) fn is_down(&self) -> bool {
        self.origin == Origin::IoManager || locked(&self.state).sent_from.is_some()
    }

    /// Returns whether a driver that has the IRP, or has passed it down, received it for a device object that meets a condition.
    pub(crate) fn has_device(&self, is_meant: impl Fn(*mut DEVICE_OBJECT) -> bool) -> bool {
        (self.current()..=self.stack_count).any(|number| {
            // SAFETY: the stack location is inside the memory.
            is_meant(unsafe { (*self.location(number)).DeviceObject })
        })
    }

    /// Returns the number of times that the driver that made the IRP has sent it.
    pub(crate) fn round(&self) -> u32 {
        match self.origin {
            Origin::IoManager => 0,
            _ => locked(&self.state).round,
        }
    }

    /// Records that the IRP is sent, by the driver that made it or by one that passes it on.
    pub(crate) fn note_sent(&self) {
        let from = self.current();
        if self.origin == Origin::IoManager || from <= 1 {
            return;
        }
        // SAFETY: the stack location is inside the memory, and the caller owns the IRP.
        let next = unsafe { &*self.location(from - 1) };
        let parameters = (&raw const next.Parameters).cast::<DeviceIoControl>();
        // SAFETY: the layouts are asserted to be the same, and any bytes are valid.
        let parameters = unsafe { &*parameters };
        let major = usize::from(next.MajorFunction);
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
        let lengths = [parameters.input_length, parameters.output_length].map(low);
        let [input_length, output_length] = match major {
            nt::IRP_MJ_READ => [0, lengths[1]],
            nt::IRP_MJ_WRITE => [lengths[1], 0],
            _ => lengths,
        };
        let mut state = locked(&self.state);
        if state.sent_from.is_none() {
            state.sent_from = Some(from);
            state.round += 1;
            state.visits.fill(Visit::default());
            state.parameters = IrpParameters {
                major,
                minor: next.MinorFunction,
                code: low(parameters.code),
                input_length: input_length as usize,
                output_length: output_length as usize,
                ..IrpParameters::default()
            };
        }
    }

    /// Records whether the completion has reached the driver that made the IRP. Returns whether it has.
    pub(crate) fn returned(&self) -> bool {
        if self.origin == Origin::IoManager {
            return false;
        }
        let mut state = locked(&self.state);
        let is_back = state.sent_from == Some(self.current());
        if is_back {
            state.sent_from = None;
        }
        is_back
    }

    /// Returns the address of the event that the I/O manager sets when it ends the request of a driver; zero if there is none.
    pub(crate) fn awaited_event(&self) -> usize {
        if self.origin != Origin::Threaded {
            return 0;
        }
        // SAFETY: the caller that completes an IRP owns it.
        unsafe { (*self.raw()).UserEvent }.addr()
    }

    /// Returns whether the memory still contains an IRP. A driver can free the memory if it has allocated it itself.
    pub(super) fn is_valid(&self) -> bool {
        // SAFETY: the memory of a freed block of the pool is kept for a while, and that of other IRPs as long as the record.
        unsafe { (*self.raw()).Type == IO_TYPE_IRP }
    }

    /// Fills the memory of an IRP that is freed.
    pub(crate) fn poison(&self) {
        if let Memory::Own(memory) = &self.memory {
            // SAFETY: the IRP was freed, and this record is the only owner of its memory.
            unsafe { memory.get().cast::<u8>().write_bytes(FREED, self.size()) };
        }
    }
}
