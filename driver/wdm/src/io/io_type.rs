//! How reads and writes transfer data.

/// The method by which a device receives the buffers of reads and writes.
///
/// WDK: [Methods for Accessing Data Buffers](https://learn.microsoft.com/windows-hardware/drivers/kernel/methods-for-accessing-data-buffers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoType {
    /// Buffered I/O: the I/O manager copies the data. For small transfers (`DO_BUFFERED_IO`).
    Buffered,
    /// Direct I/O: the driver accesses the sender's pages, as a [`UserBuffer`](crate::UserBuffer). For transfers of a page or
    /// more (`DO_DIRECT_IO`).
    Direct,
}

impl IoType {
    /// The flag of the device object.
    pub(crate) const fn flag(self) -> u32 {
        match self {
            Self::Buffered => nt::DO_BUFFERED_IO,
            Self::Direct => nt::DO_DIRECT_IO,
        }
    }
}
