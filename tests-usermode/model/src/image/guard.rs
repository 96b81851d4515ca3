//! The load configuration directory: the values that a loader fills in for `/GS` and `/guard:cf`.
//!
//! [The directory](https://learn.microsoft.com/windows/win32/debug/pe-format#the-load-configuration-structure-image-only)

use std::{collections::hash_map::RandomState, hash::BuildHasher, mem::offset_of};

use object::pe::ImageLoadConfigDirectory64 as Directory;

use super::thunks;
use crate::image::ImageError;

/// The cookie in a driver before the loader chooses one.
const DEFAULT_COOKIE: u64 = 0x2b99_2ddf_a232;

/// The offsets of the pointers for extended flow guard, which the structure does not name: check, dispatch and table
/// dispatch.
const XFG: [usize; 3] = [0x118, 0x120, 0x128];

/// Fills in the values that the load configuration directory of an image points to.
pub(super) fn fill_in(bytes: &mut [u8], base: u64, directory: usize) -> Result<(), ImageError> {
    let size = bytes
        .get(directory..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |size| u32::from_le_bytes(*size) as usize);
    let [check, dispatch] = thunks::guard();
    let [xfg_check, xfg_dispatch, xfg_table_dispatch] = XFG;
    for (field, value) in [
        (
            offset_of!(Directory, guard_cf_check_function_pointer),
            check,
        ),
        (
            offset_of!(Directory, guard_cf_dispatch_function_pointer),
            dispatch,
        ),
        (xfg_check, check),
        (xfg_dispatch, dispatch),
        (xfg_table_dispatch, dispatch),
    ] {
        if let Some(pointer) = pointed(bytes, base, directory, size, field)? {
            *pointer = (value as u64).to_le_bytes();
        }
    }
    let field = offset_of!(Directory, security_cookie);
    if let Some(cookie) = pointed(bytes, base, directory, size, field)?
        && *cookie == DEFAULT_COOKIE.to_le_bytes()
    {
        // The upper 16 bits are zero, as on Windows.
        *cookie = (RandomState::new().hash_one(base) >> 16).to_le_bytes();
    }
    Ok(())
}

/// Returns the quadword that a field of the directory points to; `None` if the directory does not have the field, or
/// the field is NULL.
fn pointed(
    bytes: &mut [u8],
    base: u64,
    directory: usize,
    size: usize,
    field: usize,
) -> Result<Option<&mut [u8; 8]>, ImageError> {
    if field + size_of::<u64>() > size {
        return Ok(None);
    }
    let damaged = || ImageError::Invalid("it is damaged: its load configuration".into());
    let pointer = bytes
        .get(directory + field..)
        .and_then(|bytes| bytes.first_chunk());
    let pointer = u64::from_le_bytes(*pointer.ok_or_else(damaged)?);
    if pointer == 0 {
        return Ok(None);
    }
    let place = pointer
        .checked_sub(base)
        .and_then(|place| usize::try_from(place).ok());
    let quadword = place
        .and_then(|place| bytes.get_mut(place..))
        .and_then(|bytes| bytes.first_chunk_mut());
    quadword.map(Some).ok_or_else(damaged)
}
