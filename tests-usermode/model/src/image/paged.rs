//! The pageable sections of an image, whose names start with `PAGE`. At `DISPATCH_LEVEL` no thread may execute or access them.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/making-drivers-pageable)

use std::{
    ops::Range,
    ptr::without_provenance,
    sync::{Mutex, PoisonError},
};

use region::Protection;

use super::{
    file::{File, Section},
    mapped::access,
};

/// The pageable sections of an image. They are closed, so that each access faults, while a thread runs in a driver at
/// `DISPATCH_LEVEL`. The handler for faults opens them for a thread at a lower IRQL.
pub(super) struct Paged {
    sections: Vec<(Range<usize>, Protection)>,
    is_closed: Mutex<bool>,
}

impl Paged {
    pub(super) fn new(base: usize, file: &File) -> Self {
        // A section is pageable by its name.
        let is_paged = |section: &&Section| section.name.starts_with("PAGE");
        let sections = file.sections.iter().filter(is_paged);
        let range = |start| base + start;
        Self {
            sections: sections
                .map(|section| {
                    let end = section.address + section.size;
                    (range(section.address)..range(end), access(section))
                })
                .collect(),
            is_closed: Mutex::new(false),
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.sections.is_empty()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn contains(&self, address: usize) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|(range, _)| range.contains(&address))
    }

    /// Closes the sections on a host whose handler opens them again.
    pub(super) fn close(&self) {
        if cfg!(target_os = "linux") && self.any() {
            self.protect(true);
        }
    }

    /// Opens the sections; returns whether they were closed.
    #[cfg(target_os = "linux")]
    pub(super) fn open(&self) -> bool {
        self.protect(false)
    }

    /// Closes or opens the sections; returns whether this changes them.
    fn protect(&self, closes: bool) -> bool {
        let mut is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *is_closed == closes {
            return false;
        }
        *is_closed = closes;
        for (range, access) in &self.sections {
            let access = if closes { Protection::NONE } else { *access };
            let start = without_provenance::<u8>(range.start);
            // SAFETY: the pages are the image's, and a thread that accesses closed ones runs the handler for faults.
            let _ = unsafe { region::protect(start, range.len(), access) };
        }
        true
    }
}
