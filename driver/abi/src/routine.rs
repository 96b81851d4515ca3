//! The NT routines that a request can run on the caller's data.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ioctl;

/// Declares the number and the name of each routine.
macro_rules! routines {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An NT routine. Its [IOCTL](Routine::ioctl) runs it once, on objects that are made from the [`Call`], and
        /// returns the result in [`CallResult`].
        ///
        /// Below, *nodes* are the first [`Call::count`] of [`Call::values`]. *found*, *value* and *status* are the
        /// fields of [`CallResult`]; they are 0 unless mentioned. *left* are the first [`CallResult::count`] of
        /// [`CallResult::values`], in order.
        ///
        /// A field of [`Call`] that a routine does not mention must be 0; `count` must be 0 for a routine that
        /// mentions neither nodes nor `count`. There can be between 0 and [`Call::VALUES`] nodes, with any values,
        /// which need not differ. In a number of *32 bits* the upper 32 bits are zero. These calls are not counted
        /// in [`Counters`](crate::Counters), unless they are rejected as malformed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Routine {
            $($(#[$doc])* $name,)*
        }

        impl Routine {
            /// Every routine.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name of the routine in the WDK.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

routines! {
    /// Acquires and releases the cancel spin lock, then again while another spin lock is held. *value*: the IRQL
    /// that the first acquisition saved; *left*: the IRQL that the second one saved.
    IoAcquireCancelSpinLock,
    /// Acquires and releases the cancel spin lock, `argument` times (1 to 1000). *value*: the IRQL that the last
    /// acquisition saved, which the previous releases restored.
    IoReleaseCancelSpinLock,
    /// Queues this request itself as cancelable. `argument` 0: removes it again and completes it; *found*: 1, since
    /// the exchange returned the Cancel routine. `argument` 1: leaves it queued until the caller cancels it or
    /// closes the handle; it is completed with `STATUS_CANCELLED`.
    IoSetCancelRoutine,
    /// Initialises a lock and tries to acquire it. *value*: 1 if it was not held.
    KeInitializeSpinLock,
    /// Acquires two nested locks. *value*: the IRQL that the outer acquisition saved; *left*: the IRQL that the
    /// inner one saved.
    KeAcquireSpinLock,
    /// Acquires and releases a lock, `argument` times (1 to 1000). *value*: the IRQL that the last acquisition
    /// saved, which the previous releases restored; *found*: 1 if the lock was not held at the end.
    KeReleaseSpinLock,
    /// At `DISPATCH_LEVEL`, acquires a lock, which another thread then tries to acquire. *value*: 0, since it was
    /// held.
    KeAcquireSpinLockAtDpcLevel,
    /// At `DISPATCH_LEVEL`, acquires and releases a lock, and tries to acquire it again. *value*: 1, since it was
    /// not held.
    KeReleaseSpinLockFromDpcLevel,
    /// Inserts `argument` at the head of a list of the nodes. *found*, *value*: the old first node; *left*:
    /// the list.
    ExInterlockedInsertHeadList,
    /// Inserts `argument` at the tail of a list of the nodes. *found*, *value*: the old last node; *left*:
    /// the list.
    ExInterlockedInsertTailList,
    /// Removes the head of a list of the nodes. *found*, *value*: the node; *left*: the list.
    ExInterlockedRemoveHeadList,
    /// Pushes `argument` on a stack, on which the nodes were pushed in order. *found*, *value*: the old top;
    /// *left*: the stack, from its top.
    ExInterlockedPushEntryList,
    /// Pops from a stack, on which the nodes were pushed in order. *found*, *value*: the node; *left*: the stack,
    /// from its top.
    ExInterlockedPopEntryList,
    /// Makes a zone with blocks of `values[0]` bytes (32 bits) from a segment of `values[1]` bytes (up to 65536)
    /// whose address is `values[2]` bytes (up to 15) above a multiple of 16. `count` is 3. *status*:
    /// `STATUS_INVALID_PARAMETER` if the block size or the segment's address is not a multiple of 8, or the block
    /// is longer than the segment; also if the block size is 0 or the segment has no room for its 16-byte header.
    /// *value*: the number of blocks in the zone: as many as fit after the header, 0 if it was not made.
    ExInitializeZone,
    /// Like [`ExInitializeZone`](Self::ExInitializeZone), then extends the zone with a segment of `values[3]` bytes
    /// (up to 65536) whose address is `values[4]` bytes (up to 15) above a multiple of 16, while no other thread
    /// can access the zone. `count` is 5. *status*: that of the extension, which fails like the initialisation and
    /// also if `values[3]` is not a multiple of 8; if the initialisation failed, its status. *value*: the number of
    /// blocks in the zone.
    ExExtendZone,
    /// Like [`ExExtendZone`](Self::ExExtendZone), under the zone's lock.
    ExInterlockedExtendZone,
    /// Makes a zone of `values[0]` blocks (up to 64), `count` is 1, and allocates `argument` times (up to 128).
    /// *value*: the number of allocations that succeeded; *found*: 1 if all blocks were different and the last
    /// allocation succeeded, 0 if there was none.
    ExInterlockedAllocateFromZone,
    /// Makes a zone of `values[0]` blocks (1 to 64), `count` is 1, allocates all of them, frees `argument` of them
    /// (up to all), and allocates until no block is left. *found*: 1 if the block that was freed last was the first
    /// one to be allocated again, 0 if none was freed; *value*: the number of blocks that were allocated again.
    ExInterlockedFreeToZone,
    /// Initialises a device queue and inserts a request. *value*: 0, since the queue is not busy at first, so the
    /// request is not queued.
    KeInitializeDeviceQueue,
    /// Inserts the nodes into a device queue, without keys. *value*: the number of nodes that were queued; *found*:
    /// 1 if the first one was not, since it is started; *left*: the queued nodes, in the order in which
    /// `KeRemoveDeviceQueue` removes them.
    KeInsertDeviceQueue,
    /// Inserts the nodes, which are their own keys (32 bits), into a device queue by key. *value*, *found*
    /// and *left* as for [`KeInsertDeviceQueue`](Self::KeInsertDeviceQueue).
    KeInsertByKeyDeviceQueue,
    /// Inserts the nodes into a device queue that is busy with another request, and removes one. *found*, *value*:
    /// the node; *left*: the others, in the order in which `KeRemoveDeviceQueue` removes them. If *found* is 0, the
    /// queue is no longer busy, and *status* is `STATUS_DEVICE_NOT_READY`.
    KeRemoveDeviceQueue,
    /// Like [`KeRemoveDeviceQueue`](Self::KeRemoveDeviceQueue), but the nodes are inserted by key, and one is
    /// removed by the key `argument` (32 bits).
    KeRemoveByKeyDeviceQueue,
    /// Like [`KeRemoveByKeyDeviceQueue`](Self::KeRemoveByKeyDeviceQueue), with `KeRemoveByKeyDeviceQueueIfBusy`. If
    /// there are no nodes, `reserved` can be 1: the queue is then not busy before the call, and the result is the
    /// same.
    KeRemoveByKeyDeviceQueueIfBusy,
    /// Inserts the nodes, without keys, into a device queue that is busy with another request, and removes the node
    /// with the index `argument` (below `count`) twice. *found*: 1 if it was queued the first time; *value*: 1 if
    /// it was queued the second time; *left*: the others, in the order of removal.
    KeRemoveEntryDeviceQueue,
    /// Adds `argument` (32 bits) to `values[0]` (32 bits), `count` is 1. *value*: the old value; *left*: the new
    /// value.
    ExInterlockedAddUlong,
    /// Adds `argument` to `values[0]`, `count` is 1, both as signed numbers. *value*: the old value; *left*: the
    /// new value.
    ExInterlockedAddLargeInteger,
    /// Increments `values[0]`, `count` is 1 (32 bits, read as a signed number). *value*: the return value (32
    /// bits); *left*: the new value.
    InterlockedIncrement,
    /// Decrements `values[0]`, `count` is 1 (32 bits, read as a signed number). *value*: the return value (32
    /// bits); *left*: the new value.
    InterlockedDecrement,
    /// Replaces `values[0]`, `count` is 1, with `argument` (both 32 bits). *value*: the old value; *left*: the new
    /// value.
    InterlockedExchange,
    /// Reads the processor number twice at `DISPATCH_LEVEL`. *value*: the number; *found*: 1 if it was the same
    /// both times; *left*: the largest number of processors that the system can have.
    KeGetCurrentProcessorNumber,
}

impl Routine {
    /// Returns the IOCTL code that runs the routine.
    #[must_use]
    pub const fn ioctl(self) -> u32 {
        ioctl::code(0x900 + self as u32, ctl_code::Access::ReadWrite)
    }

    /// Returns whether [`ioctl::RUN_THREADS`] runs the routine. It does not run routines that initialise an object
    /// or require exclusive access to it, nor `IoSetCancelRoutine`, which races with `IoCancelIrp`, not with
    /// itself.
    #[must_use]
    pub const fn runs_in_threads(self) -> bool {
        !matches!(
            self,
            Self::IoSetCancelRoutine
                | Self::KeInitializeSpinLock
                | Self::ExInitializeZone
                | Self::ExExtendZone
                | Self::KeInitializeDeviceQueue
        )
    }

    /// Returns the routine that an IOCTL code runs.
    #[must_use]
    pub fn from_ioctl(code: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|routine| routine.ioctl() == code)
    }

    /// Returns the routine with a number, as in [`RunThreads::routine`].
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// The input of a [routine's IOCTL](Routine::ioctl).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Call {
    /// The argument of the routine.
    pub argument: u64,
    /// The number of values that are used; the others are zero.
    pub count: u32,
    /// Zero, unless the routine allows another value.
    pub reserved: u32,
    /// The initial contents of the routine's object.
    pub values: [u64; Self::VALUES],
}

impl Call {
    /// The largest number of values in a call.
    pub const VALUES: usize = 16;
}

/// The output of a [routine's IOCTL](Routine::ioctl).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CallResult {
    /// The return value: a number, or the node that the returned pointer points to.
    pub value: u64,
    /// 1 if the routine returned a node, 0 if it returned NULL.
    pub found: u32,
    /// The NTSTATUS that the routine returned; 0 if it returns none.
    pub status: u32,
    /// The number of values that are used; the others are zero.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// The remaining contents of the object.
    pub values: [u64; Self::VALUES],
}

impl CallResult {
    /// The largest number of values in a result: those of the call, and one that was inserted.
    pub const VALUES: usize = Call::VALUES + 1;
}

/// The input of [`ioctl::RUN_THREADS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RunThreads {
    /// A [`Routine`] that [runs in threads](Routine::runs_in_threads), as its number.
    pub routine: u32,
    /// The number of system threads, 1 to [`RunThreads::MAX_THREADS`].
    pub threads: u32,
    /// The number of rounds in each thread, 1 to [`RunThreads::MAX_ROUNDS`].
    pub rounds: u32,
    /// Zero.
    pub reserved: u32,
}

impl RunThreads {
    /// The largest number of threads.
    pub const MAX_THREADS: u32 = 16;
    /// The largest number of rounds.
    pub const MAX_ROUNDS: u32 = 100_000;
}

/// The output of [`ioctl::RUN_THREADS`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThreadResults {
    /// The number of times that the routine was run.
    pub rounds: u64,
    /// The expected result. For the zone routines this is the number of blocks, for `InterlockedExchange` the sum
    /// of the numbers that were stored. For every other routine it is `rounds`, since each round adds 1 to a sum,
    /// inserts a node, or acquires a lock once.
    pub expected: u64,
    /// The actual result.
    pub actual: u64,
    /// The number of violations, such as two owners of one object or a value that was returned twice.
    pub violations: u64,
}

#[cfg(test)]
mod tests {
    use super::Routine;

    #[test]
    fn codes_and_numbers_identify_their_routine() {
        for (number, routine) in (0..).zip(Routine::ALL) {
            assert_eq!(Routine::from_ioctl(routine.ioctl()), Some(*routine));
            assert_eq!(Routine::from_number(number), Some(*routine));
        }
        assert_eq!(Routine::from_number(31), None);
        assert_eq!(Routine::from_ioctl(0x22_e000), None);
    }
}
