//! Bitmaps.

/// A bitmap. The driver provides its bits.
#[repr(C)]
pub struct RTL_BITMAP {
    pub SizeOfBitMap: u32,
    pub Buffer: *mut u32,
}

const _: () = assert!(size_of::<RTL_BITMAP>() == 0x10);

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn RtlInitializeBitMap(
        BitMapHeader: *mut RTL_BITMAP,
        BitMapBuffer: *mut u32,
        SizeOfBitMap: u32,
    );
    pub fn RtlClearAllBits(BitMapHeader: *mut RTL_BITMAP);
    pub fn RtlSetAllBits(BitMapHeader: *mut RTL_BITMAP);
    pub fn RtlClearBits(BitMapHeader: *mut RTL_BITMAP, StartingIndex: u32, NumberToClear: u32);
    pub fn RtlSetBits(BitMapHeader: *mut RTL_BITMAP, StartingIndex: u32, NumberToSet: u32);
    pub fn RtlAreBitsClear(BitMapHeader: *mut RTL_BITMAP, StartingIndex: u32, Length: u32) -> u8;
    pub fn RtlAreBitsSet(BitMapHeader: *mut RTL_BITMAP, StartingIndex: u32, Length: u32) -> u8;
    pub fn RtlNumberOfClearBits(BitMapHeader: *mut RTL_BITMAP) -> u32;
    pub fn RtlNumberOfSetBits(BitMapHeader: *mut RTL_BITMAP) -> u32;
    /// Returns `0xFFFFFFFF` if there are no such bits.
    pub fn RtlFindClearBits(
        BitMapHeader: *mut RTL_BITMAP,
        NumberToFind: u32,
        HintIndex: u32,
    ) -> u32;
    pub fn RtlFindSetBits(BitMapHeader: *mut RTL_BITMAP, NumberToFind: u32, HintIndex: u32) -> u32;
    pub fn RtlFindClearBitsAndSet(
        BitMapHeader: *mut RTL_BITMAP,
        NumberToFind: u32,
        HintIndex: u32,
    ) -> u32;
    pub fn RtlFindSetBitsAndClear(
        BitMapHeader: *mut RTL_BITMAP,
        NumberToFind: u32,
        HintIndex: u32,
    ) -> u32;
}
