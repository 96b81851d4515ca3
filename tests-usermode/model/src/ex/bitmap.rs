//! Bitmaps.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlinitializebitmap)

use std::ops::Range;

use nt::{DISPATCH_LEVEL, RTL_BITMAP};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
    },
    verifier::Rule,
};

/// The value that a routine returns if it finds no bits.
const NONE: u32 = u32::MAX;

/// A bitmap of a driver.
struct Bits {
    size: u32,
    words: *mut u32,
}

impl Bits {
    fn get(&self, index: u32) -> bool {
        let word = self.words.wrapping_add(index as usize / 32);
        // SAFETY: the index is less than the size, and the driver gives so many bits.
        unsafe { word.read() >> (index % 32) & 1 != 0 }
    }

    fn set(&self, index: u32, value: bool) {
        let word = self.words.wrapping_add(index as usize / 32);
        // SAFETY: as above; the driver serializes the calls.
        let before = unsafe { word.read() };
        let bit = 1 << (index % 32);
        let after = if value { before | bit } else { before & !bit };
        // SAFETY: as above.
        unsafe { word.write(after) };
    }

    fn all(&self) -> Range<u32> {
        0..self.size
    }

    fn count(&self, value: bool) -> u32 {
        let count = self.all().filter(|index| self.get(*index) == value).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn fill(&self, range: Range<u32>, value: bool) {
        range.for_each(|index| self.set(index, value));
    }

    fn are(&self, mut range: Range<u32>, value: bool) -> bool {
        range.all(|index| self.get(index) == value)
    }

    /// Returns the first of `count` bits with a value: from a hint on, or else from the start on.
    fn find(&self, count: u32, hint: u32, value: bool) -> Option<u32> {
        // For no bits the hint, rounded down to a byte.
        let hint = if hint < self.size { hint } else { 0 };
        if count == 0 {
            return Some(hint & !7);
        }
        let last = self.size.checked_sub(count)?;
        let fits = |start: &u32| self.are(*start..*start + count, value);
        (hint..=last).find(fits).or_else(|| (0..=last).find(fits))
    }
}

impl Call {
    fn bits(&self, bitmap: *mut RTL_BITMAP) -> Bits {
        self.require_room(bitmap);
        if self.irql() >= DISPATCH_LEVEL {
            self.require_nonpaged(bitmap);
        }
        // SAFETY: the driver passes a bitmap.
        let bitmap = unsafe { &*bitmap };
        let words = bitmap.SizeOfBitMap.div_ceil(u32::BITS) as usize;
        self.require_array(bitmap.Buffer, words);
        if self.irql() >= DISPATCH_LEVEL {
            self.require_nonpaged(bitmap.Buffer);
        }
        Bits {
            size: bitmap.SizeOfBitMap,
            words: bitmap.Buffer,
        }
    }

    /// Returns a range of bits. Stops the system if it is not in the bitmap.
    fn range(&self, bits: &Bits, start: u32, count: u32) -> Range<u32> {
        let end = start.checked_add(count).filter(|end| *end <= bits.size);
        self.require(end.is_some(), Rule::Bitmap, || {
            let size = bits.size;
            format!("{count} bits from number {start} on are not in a bitmap of {size} bits")
        });
        start..end.unwrap_or(start)
    }

    fn fill_bits(&self, bitmap: *mut RTL_BITMAP, start: u32, count: u32, value: bool) {
        let bits = self.bits(bitmap);
        bits.fill(self.range(&bits, start, count), value);
    }

    fn are_bits(&self, bitmap: *mut RTL_BITMAP, start: u32, count: u32, value: bool) -> u8 {
        let bits = self.bits(bitmap);
        let end = start.checked_add(count).filter(|end| *end <= bits.size);
        let is_range = count != 0 && end.is_some();
        u8::from(is_range && bits.are(start..start + count, value))
    }

    fn find_bits(&self, bitmap: *mut RTL_BITMAP, count: u32, hint: u32, value: bool) -> u32 {
        self.bits(bitmap).find(count, hint, value).unwrap_or(NONE)
    }

    fn find_and_change(&self, bitmap: *mut RTL_BITMAP, count: u32, hint: u32, value: bool) -> u32 {
        let bits = self.bits(bitmap);
        footprint::touch(bits.words.addr(), Access::Exclusive);
        let Some(start) = bits.find(count, hint, value) else {
            return NONE;
        };
        // The routine is not atomic: without a lock another thread can find the same bits.
        self.switch_if_unguarded(self.routine());
        footprint::touch(bits.words.addr(), Access::Exclusive);
        bits.fill(start..start + count, !value);
        start
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlInitializeBitMap(bitmap: *mut RTL_BITMAP, buffer: *mut u32, size: u32) {
    let call = Call::enter_noted("RtlInitializeBitMap");
    call.require_room(bitmap);
    let new = RTL_BITMAP {
        SizeOfBitMap: size,
        Buffer: buffer,
    };
    // SAFETY: the caller passes memory for a bitmap.
    unsafe { bitmap.write(new) };
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlClearAllBits(bitmap: *mut RTL_BITMAP) {
    let bits = Call::enter_noted("RtlClearAllBits").bits(bitmap);
    bits.fill(bits.all(), false);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlSetAllBits(bitmap: *mut RTL_BITMAP) {
    let bits = Call::enter_noted("RtlSetAllBits").bits(bitmap);
    bits.fill(bits.all(), true);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlClearBits(bitmap: *mut RTL_BITMAP, start: u32, count: u32) {
    Call::enter_noted("RtlClearBits").fill_bits(bitmap, start, count, false);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlSetBits(bitmap: *mut RTL_BITMAP, start: u32, count: u32) {
    Call::enter_noted("RtlSetBits").fill_bits(bitmap, start, count, true);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlAreBitsClear(bitmap: *mut RTL_BITMAP, start: u32, count: u32) -> u8 {
    Call::enter_noted("RtlAreBitsClear").are_bits(bitmap, start, count, false)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlAreBitsSet(bitmap: *mut RTL_BITMAP, start: u32, count: u32) -> u8 {
    Call::enter_noted("RtlAreBitsSet").are_bits(bitmap, start, count, true)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlNumberOfClearBits(bitmap: *mut RTL_BITMAP) -> u32 {
    Call::enter_noted("RtlNumberOfClearBits")
        .bits(bitmap)
        .count(false)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlNumberOfSetBits(bitmap: *mut RTL_BITMAP) -> u32 {
    Call::enter_noted("RtlNumberOfSetBits")
        .bits(bitmap)
        .count(true)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlfindclearbits)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlFindClearBits(bitmap: *mut RTL_BITMAP, count: u32, hint: u32) -> u32 {
    Call::enter_noted("RtlFindClearBits").find_bits(bitmap, count, hint, false)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlFindSetBits(bitmap: *mut RTL_BITMAP, count: u32, hint: u32) -> u32 {
    Call::enter_noted("RtlFindSetBits").find_bits(bitmap, count, hint, true)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlfindclearbitsandset)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlFindClearBitsAndSet(bitmap: *mut RTL_BITMAP, count: u32, hint: u32) -> u32 {
    Call::enter_noted("RtlFindClearBitsAndSet").find_and_change(bitmap, count, hint, false)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlFindSetBitsAndClear(bitmap: *mut RTL_BITMAP, count: u32, hint: u32) -> u32 {
    Call::enter_noted("RtlFindSetBitsAndClear").find_and_change(bitmap, count, hint, true)
}
