//! The routines of the family, each of which can be run alone on data of the caller's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ioctl;

/// Declares the routines once: the number of each, and its name.
macro_rules! routines {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A routine of the family. Its [IOCTL](Routine::ioctl) runs it once, on objects that are made from
        /// the [`Call`] for it alone, and answers what it [`Returned`].
        ///
        /// In what follows, *nodes* are the first [`Call::count`] of [`Call::values`]; *found* and *value*
        /// are those of [`Returned`], where nothing is said they are 0; *left* are the first
        /// [`Returned::count`] of [`Returned::values`], in order.
        ///
        /// A field of [`Call`] that a routine does not name must be 0: a routine that names neither nodes nor
        /// `count` takes a `count` of 0, one that names no `argument` an `argument` of 0. Nodes may be none,
        /// as many as there is room for, any numbers, and the same more than once. A number of *32 bits* has
        /// zeros above them. None of these calls is counted in [`Counters`](crate::Counters), unless it is
        /// refused as malformed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Routine {
            $($(#[$doc])* $name,)*
        }

        impl Routine {
            /// Every routine.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The routine's name, as the WDK spells it.
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
    /// Takes and releases the cancel spin lock, then again with another spin lock held around it. *value*:
    /// the IRQL that the first acquisition saved; *left*: the one that the second saved.
    IoAcquireCancelSpinLock,
    /// Takes and releases the cancel spin lock, `argument` times (1 to 1000). *value*: the IRQL that the last
    /// acquisition saved, and so the one that the releases before it restored.
    IoReleaseCancelSpinLock,
    /// Queues this very request as cancelable. `argument` 0: takes it off again and completes it. *found*: 1,
    /// since the exchange gave the Cancel routine back. `argument` 1: leaves it queued, until the caller
    /// cancels it or closes the handle; it ends with `STATUS_CANCELLED`.
    IoSetCancelRoutine,
    /// Initialises a lock and tries to take it. *value*: 1 if it was free.
    KeInitializeSpinLock,
    /// Takes two locks, one within the other. *value*: the IRQL that the outer acquisition saved; *left*:
    /// the one that the inner saved.
    KeAcquireSpinLock,
    /// Takes a lock and releases it, `argument` times (1 to 1000). *value*: the IRQL that the last
    /// acquisition saved, and so the one that the releases before it restored; *found*: 1 if the lock was
    /// free at the end.
    KeReleaseSpinLock,
    /// At `DISPATCH_LEVEL`, takes a lock, which another thread tries to take then. *value*: 0, since it was taken.
    KeAcquireSpinLockAtDpcLevel,
    /// At `DISPATCH_LEVEL`, takes a lock, releases it, and tries to take it again. *value*: 1, since it was
    /// free.
    KeReleaseSpinLockFromDpcLevel,
    /// Inserts `argument` at the head of a list of the nodes. *found*, *value*: the old first node; *left*:
    /// the list.
    ExInterlockedInsertHeadList,
    /// Inserts `argument` at the tail of a list of the nodes. *found*, *value*: the old last node; *left*:
    /// the list.
    ExInterlockedInsertTailList,
    /// Removes the head of a list of the nodes. *found*, *value*: the node; *left*: the list.
    ExInterlockedRemoveHeadList,
    /// Pushes `argument` on a stack, on which the nodes were pushed in turn. *found*, *value*: the old top;
    /// *left*: the stack, from its top.
    ExInterlockedPushEntryList,
    /// Pops from a stack, on which the nodes were pushed in turn. *found*, *value*: the node; *left*: the
    /// stack, from its top.
    ExInterlockedPopEntryList,
    /// Makes a zone with blocks of `values[0]` bytes (32 bits) from a segment of `values[1]` bytes (up to
    /// 65536) that starts `values[2]` bytes (up to 15) behind a multiple of 16. `count` is 3. *status*:
    /// `STATUS_INVALID_PARAMETER` if the block's size or the segment's start is no multiple of 8, or the
    /// block is longer than the segment; also if the block's size is 0 or the segment has no room for its
    /// header of 16 bytes. *value*: how many blocks the zone has: as many as fit behind the header, 0 where
    /// it was not made.
    ExInitializeZone,
    /// As [`ExInitializeZone`](Self::ExInitializeZone), and extends the zone by a segment of `values[3]`
    /// bytes (up to 65536) that starts `values[4]` bytes (up to 15) behind a multiple of 16, while nobody
    /// else can reach the zone. `count` is 5. *status*: that of the extension, which fails as the
    /// initialisation does and also if `values[3]` is no multiple of 8, or of the initialisation if that
    /// failed, after which nothing is extended; *value*: how many blocks the zone has then.
    ExExtendZone,
    /// As [`ExExtendZone`](Self::ExExtendZone), under the zone's lock.
    ExInterlockedExtendZone,
    /// Makes a zone of `values[0]` blocks (up to 64), `count` is 1, and allocates `argument` times (up to
    /// 128). *value*: how often it got a block; *found*: 1 if every block was another and the last attempt
    /// got one, 0 if there was no attempt.
    ExInterlockedAllocateFromZone,
    /// Makes a zone of `values[0]` blocks (1 to 64), `count` is 1, allocates all, frees `argument` of them
    /// (up to as many), and allocates until there is none. *found*: 1 if the last block freed was the first
    /// one that was allocated again, 0 if none was freed; *value*: how many were allocated again.
    ExInterlockedFreeToZone,
    /// Initialises a device queue and inserts into it. *value*: 0, since it starts not busy and so the
    /// request is not queued.
    KeInitializeDeviceQueue,
    /// Inserts the nodes into a device queue, without keys. *value*: how many were queued; *found*: 1 if the
    /// first one was not, as it should be started; *left*: those queued, as `KeRemoveDeviceQueue` takes them
    /// out.
    KeInsertDeviceQueue,
    /// Inserts the nodes, which are their own keys (32 bits), into a device queue by key. *value*, *found*
    /// and *left* as for [`KeInsertDeviceQueue`](Self::KeInsertDeviceQueue).
    KeInsertByKeyDeviceQueue,
    /// Inserts the nodes into a device queue that is busy with another request, and removes one. *found*,
    /// *value*: the node; *left*: the others, as `KeRemoveDeviceQueue` takes them out. Where *found* is 0 the
    /// queue is not busy then, and *status* is `STATUS_DEVICE_NOT_READY`.
    KeRemoveDeviceQueue,
    /// As [`KeRemoveDeviceQueue`](Self::KeRemoveDeviceQueue); nodes are inserted by key, and one is removed
    /// by the key `argument` (32 bits).
    KeRemoveByKeyDeviceQueue,
    /// As [`KeRemoveByKeyDeviceQueue`](Self::KeRemoveByKeyDeviceQueue), with
    /// `KeRemoveByKeyDeviceQueueIfBusy`; with no nodes and `reserved` 1, on a queue that was not busy before,
    /// which answers the same. `reserved` is 0 or, with no nodes, 1.
    KeRemoveByKeyDeviceQueueIfBusy,
    /// Inserts the nodes, without keys, into a device queue that is busy with another request, and removes
    /// the one with the index `argument` (below `count`), twice. *found*: 1 if it was queued the first time;
    /// *value*: 1 if it was the second time; *left*: the others, as they come out.
    KeRemoveEntryDeviceQueue,
    /// Adds `argument` (32 bits) to `values[0]` (32 bits), `count` is 1. *value*: what it was; *left*: what
    /// it is.
    ExInterlockedAddUlong,
    /// Adds `argument` to `values[0]`, `count` is 1, both as signed numbers. *value*: what it was; *left*:
    /// what it is.
    ExInterlockedAddLargeInteger,
    /// Increments `values[0]`, `count` is 1 (32 bits, read as a signed number). *value*: what it returned (32
    /// bits); *left*: what it is.
    InterlockedIncrement,
    /// Decrements `values[0]`, `count` is 1 (32 bits, read as a signed number). *value*: what it returned (32
    /// bits); *left*: what it is.
    InterlockedDecrement,
    /// Exchanges `values[0]`, `count` is 1, for `argument` (32 bits both). *value*: what it was; *left*: what
    /// it is.
    InterlockedExchange,
    /// Asks for the processor's number twice at `DISPATCH_LEVEL`. *value*: the number; *found*: 1 if it was
    /// the same both times; *left*: how many processors the system can have.
    KeGetCurrentProcessorNumber,
}

impl Routine {
    /// The IOCTL code that runs the routine.
    #[must_use]
    pub const fn ioctl(self) -> u32 {
        ioctl::code(0x900 + self as u32, ioctl::READ | ioctl::WRITE)
    }

    /// Whether [`ioctl::RUN_THREADS`] runs the routine. It does not run those that make or change an object
    /// which nobody else may use meanwhile, nor `IoSetCancelRoutine`, whose other side is `IoCancelIrp`.
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

    /// The routine that an IOCTL code runs.
    #[must_use]
    pub fn from_ioctl(code: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|routine| routine.ioctl() == code)
    }

    /// The routine with a number, as [`RunThreads::routine`] has it.
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
    /// What the routine is given.
    pub argument: u64,
    /// How many of `values` there are; the others are zero.
    pub count: u32,
    /// Zero, but where the routine says otherwise.
    pub reserved: u32,
    /// What the routine's object has in it.
    pub values: [u64; Self::VALUES],
}

impl Call {
    /// How many values a call can have.
    pub const VALUES: usize = 16;
}

/// The output of a [routine's IOCTL](Routine::ioctl).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Returned {
    /// What the routine returned: a number, or the node that a pointer pointed to.
    pub value: u64,
    /// 1 if there was such a node, 0 if the pointer was NULL.
    pub found: u32,
    /// The NTSTATUS that the routine returned; 0 for one that returns none.
    pub status: u32,
    /// How many of `values` there are; the others are zero.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// What is left.
    pub values: [u64; Self::VALUES],
}

impl Returned {
    /// How many values an answer can have: those of the call, and one that was inserted.
    pub const VALUES: usize = Call::VALUES + 1;
}

/// The input of [`ioctl::RUN_THREADS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RunThreads {
    /// A [`Routine`] that [runs in threads](Routine::runs_in_threads), as its number.
    pub routine: u32,
    /// How many system threads, 1 to [`RunThreads::MAX_THREADS`].
    pub threads: u32,
    /// How often each runs the routine, 1 to [`RunThreads::MAX_ROUNDS`].
    pub rounds: u32,
    /// Zero.
    pub reserved: u32,
}

impl RunThreads {
    /// The most threads that can be asked for.
    pub const MAX_THREADS: u32 = 16;
    /// The most rounds that can be asked for.
    pub const MAX_ROUNDS: u32 = 100_000;
}

/// The output of [`ioctl::RUN_THREADS`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThreadsRan {
    /// How often the routine was run.
    pub rounds: u64,
    /// What must have come of it. For the zones this is how many blocks there are, for `InterlockedExchange`
    /// the sum of the numbers put in; for every other routine it is `rounds`, as each round adds 1 to a sum,
    /// inserts a node, or has a turn.
    pub expected: u64,
    /// What came of it.
    pub actual: u64,
    /// How often something was seen that must not be: two owners of one thing, a value twice.
    pub violations: u64,
}

#[cfg(test)]
mod tests {
    use super::Routine;

    #[test]
    fn codes_and_numbers_lead_back_to_their_routine() {
        for (number, routine) in (0..).zip(Routine::ALL) {
            assert_eq!(Routine::from_ioctl(routine.ioctl()), Some(*routine));
            assert_eq!(Routine::from_number(number), Some(*routine));
        }
        assert_eq!(Routine::from_number(31), None);
        assert_eq!(Routine::from_ioctl(0x22_e000), None);
    }
}
