//! The pageable sections of an image, whose names start with `PAGE`. At `DISPATCH_LEVEL` no thread may execute or access them.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/making-drivers-pageable)

use std::{
    ops::Range,
    ptr::without_provenance,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use region::Protection;

use super::{
    file::{File, Section},
    mapped::access,
};

/// The pageable sections of an image. They are closed, so that each access faults, while a thread runs in a driver at
/// `DISPATCH_LEVEL`. The handler for faults opens them for a thread at a lower IRQL.
pub(super) struct Paged {
    sections: Vec<PagedSection>,
    is_closed: Mutex<bool>,
}

struct PagedSection {
    range: Range<usize>,
    access: Protection,
    /// The number of times that drivers have locked the section and not unlocked it.
    locks: AtomicUsize,
}

impl PagedSection {
    fn is_locked(&self) -> bool {
        self.locks.load(Ordering::Relaxed) != 0
    }
}

impl Paged {
    pub(super) fn new(base: usize, file: &File) -> Self {
        // The name of a section determines whether it is pageable.
        let is_paged = |section: &&Section| section.name.starts_with("PAGE");
        let sections = file.sections.iter().filter(is_paged);
        let range = |start| base + start;
        Self {
            sections: sections
                .map(|section| {
                    let end = section.address + section.size;
                    PagedSection {
                        range: range(section.address)..range(end),
                        access: access(section),
                        locks: AtomicUsize::new(0),
                    }
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
        sections.any(|section| section.range.contains(&address) && !section.is_locked())
    }

    /// Locks or unlocks the pageable section that contains an address, if there is one. Returns `false` for a section that is unlocked,
    /// but is not locked.
    pub(super) fn lock(&self, address: usize, locks: bool) -> bool {
        let mut sections = self.sections.iter();
        let Some(section) = sections.find(|section| section.range.contains(&address)) else {
            return true;
        };
        if locks {
            section.locks.fetch_add(1, Ordering::Relaxed);
            // `protect` leaves a locked section open.
            self.protect(false);
            return true;
        }
        let count = |locks: usize| locks.checked_sub(1);
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        section.locks.fetch_update(order.0, order.1, count).is_ok()
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
        for section in &self.sections {
            let range = &section.range;
            let is_open = !closes || section.is_locked();
            let access = if is_open {
                section.access
            } else {
                Protection::NONE
            };
            let start = without_provenance::<u8>(range.start);
            // SAFETY: the pages are the image's, and a thread that accesses closed ones runs the handler for faults.
            let _ = unsafe { region::protect(start, range.len(), access) };
        }
        true
    }
}
