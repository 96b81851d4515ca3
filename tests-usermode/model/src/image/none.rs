//! Hosts that cannot load an image, since their calling convention differs or they were not tested.

use std::{convert::Infallible, io, path::Path};

use crate::image::ImageError;

/// A driver's image. This host cannot load one.
#[derive(Debug)]
pub struct Image(Infallible);

impl Image {
    /// Maps the image in a file.
    ///
    /// # Errors
    /// Always: images are loaded on Linux and Windows on x86-64.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        let _ = path;
        Self::map("", &[])
    }

    /// Maps the image in the bytes of a file, under a name for reports.
    ///
    /// # Errors
    /// As for [`Image::load`].
    pub fn map(_name: &str, _bytes: &[u8]) -> Result<Self, ImageError> {
        let what = "images of drivers are loaded on Linux and Windows on x86-64 only";
        Err(io::Error::new(io::ErrorKind::Unsupported, what).into())
    }

    /// Maps the image in a file, although the model lacks some of the routines that it imports.
    ///
    /// # Errors
    /// As for [`Image::load`].
    pub fn load_partly(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        Self::load(path)
    }

    /// Maps the image in the bytes of a file as [`Image::load_partly`] does, under a name for reports.
    ///
    /// # Errors
    /// As for [`Image::load`].
    pub fn map_partly(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        Self::map(name, bytes)
    }

    /// Returns the names of the routines that an image can import.
    pub fn routines() -> impl Iterator<Item = &'static str> {
        std::iter::empty()
    }

    pub(crate) fn routine(_name: &str) -> Option<usize> {
        None
    }

    /// Returns the name of the file.
    pub fn name(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn entry(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn addresses(&self) -> std::ops::Range<usize> {
        match self.0 {}
    }

    pub(crate) fn has_inline_locks(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn discard(&self) -> io::Result<()> {
        match self.0 {}
    }
}

pub(crate) fn walk(_address: usize, _stack: usize, _found: impl FnMut(usize) -> bool) -> bool {
    false
}

pub(crate) fn describe(_address: usize, _short: fn(&str) -> String) -> Option<String> {
    None
}

/// No address of a routine.
pub(crate) const fn default_dispatch() -> usize {
    0
}

pub(crate) const fn any_paged() -> bool {
    false
}

pub(crate) fn close_paged() {}

#[cfg(target_os = "linux")]
pub(crate) fn is_paged(_address: usize) -> bool {
    false
}

#[cfg(target_os = "linux")]
pub(crate) fn open_paged(_address: usize) -> bool {
    false
}

pub(crate) fn lock_section(_address: usize, _locks: bool) -> bool {
    true
}

pub(crate) fn offset(_address: usize) -> Option<usize> {
    None
}
