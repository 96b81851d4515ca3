//! Special pages: memory that ends at a page without access, as in Driver Verifier's
//! [special pool](https://learn.microsoft.com/windows-hardware/drivers/devtest/special-pool).
//!
//! The pool's blocks and the buffers of requests are in such pages on Linux, if they are not longer than a page and
//! a page is free. So an access past the end faults. A page is closed, which makes each access fault, in these cases:
//!
//! | contents | is closed |
//! | --- | --- |
//! | a block of the paged pool | when a thread continues in the driver at `DISPATCH_LEVEL`, until the next permitted access |
//! | the user-mode buffer | until it was probed, and as above, and when a system thread continues |
//! | a block that was freed | until the model reads it |
//!
//! The handler for faults opens a page for an access that is permitted. The protection is that of the whole process, so the model
//! does not observe an access that is wrong in this thread while the page is open for another one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::{
    host::{layout::PAGE_SIZE, thread::Thread},
    image,
};

/// The contents of a special page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Contents {
    /// Memory that any thread may access.
    Nonpaged,
    /// A block of the paged pool.
    Paged,
    /// A user-mode buffer that the driver has not probed.
    User,
    /// A user-mode buffer that the driver has probed.
    Probed,
    /// A block that was freed.
    Freed,
}

/// Where an address is in a special page.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecialAddress {
    /// In the page itself, which can be closed.
    Inside(Contents),
    /// In the page without access after it.
    Beyond(Contents),
}

/// The number of special pages of the program.
const PAGES: usize = 4096;

/// The alignment of a block.
const ALIGNMENT: usize = nt::MEMORY_ALLOCATION_ALIGNMENT;

/// The pages that a kernel closes later: a bit for each page.
struct Open {
    any: AtomicBool,
    pages: [AtomicU64; PAGES / 64],
}

impl Open {
    fn note(&self, page: usize) {
        self.pages[page / 64].fetch_or(1 << (page % 64), Relaxed);
        self.any.store(true, Relaxed);
    }

    #[inline]
    fn is_any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Closes the pages. A page can belong to another block by now, which the handler opens again.
    fn close(&self) {
        if !self.is_any() || !self.any.swap(false, Relaxed) {
            return;
        }
        for (index, word) in self.pages.iter().enumerate() {
            let mut pages = word.swap(0, Relaxed);
            while pages != 0 {
                pages_of_host::close(64 * index + pages.trailing_zeros() as usize);
                pages &= pages - 1;
            }
        }
    }
}

impl Default for Open {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            pages: [const { AtomicU64::new(0) }; PAGES / 64],
        }
    }
}

/// The open pages of a kernel.
#[derive(Default)]
pub(crate) struct OpenPages {
    paged: Open,
    user: Open,
}

impl OpenPages {
    /// Closes the pages that a thread may not access when it continues in the driver.
    #[inline]
    pub(crate) fn close_for(&self, thread: &Thread) {
        if self.paged.is_any() || self.user.is_any() || image::any_paged() {
            self.close_open_ones_for(thread);
        }
    }

    #[inline(never)]
    fn close_open_ones_for(&self, thread: &Thread) {
        let is_high = thread.irql() >= nt::DISPATCH_LEVEL;
        if is_high {
            self.paged.close();
            image::close_paged();
        }
        if is_high || !thread.has_user_memory() {
            self.user.close();
        }
    }

    fn note(&self, page: usize, contents: Contents) {
        match contents {
            Contents::Paged => self.paged.note(page),
            Contents::Probed => self.user.note(page),
            _ => {}
        }
    }
}

/// A block in a special page, which is returned when this value is dropped.
pub(crate) struct SpecialBlock(usize);

impl SpecialBlock {
    /// Allocates a block; `None` if it is too long, or no page is left.
    pub(crate) fn new(length: usize) -> Option<Self> {
        allocate(length).map(Self)
    }

    pub(crate) fn start(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.0)
    }
}

impl Drop for SpecialBlock {
    fn drop(&mut self) {
        free(self.0);
    }
}

/// Allocates a block in a special page, with any content; returns its address.
pub(crate) fn allocate(length: usize) -> Option<usize> {
    let kernel = &crate::host::thread::try_current()?;
    if length == 0 || length > PAGE_SIZE || !kernel.kernel.config.special_pool {
        return None;
    }
    let page = pages_of_host::take()?;
    Some(pages_of_host::start(page) + pages_of_host::size() - length.next_multiple_of(ALIGNMENT))
}

/// Returns the page of a block.
pub(crate) fn free(block: usize) {
    if let Some(page) = page_of(block) {
        pages_of_host::give_back(page);
    }
}

/// Returns the special page that contains an address.
fn page_of(address: usize) -> Option<usize> {
    let (page, is_beyond) = pages_of_host::find(address)?;
    (!is_beyond).then_some(page)
}

/// Returns whether a block is in a special page.
pub(crate) fn contains(block: usize) -> bool {
    page_of(block).is_some()
}

/// Returns the number of bytes between the end of a block and the page without access, and the number of bytes before the
/// block in its page; `None` if the block is not in a special page.
pub(crate) fn room(block: usize, length: usize) -> Option<(usize, usize)> {
    let page = pages_of_host::start(page_of(block)?);
    Some((page + pages_of_host::size() - block - length, block - page))
}

/// Returns the end of the page without access after a block; `None` if the block is not in a special page.
pub(crate) fn end(block: usize) -> Option<usize> {
    page_of(block).map(|page| pages_of_host::start(page) + 2 * pages_of_host::size())
}

/// Records the contents of a block's page. If any access must be checked first, the page is closed.
pub(crate) fn set_contents(block: usize, contents: Contents) {
    let Some(page) = page_of(block) else {
        return;
    };
    pages_of_host::set_contents(page, contents);
    match contents {
        Contents::User | Contents::Freed => pages_of_host::close(page),
        Contents::Paged => {
            if let Some(thread) = crate::host::thread::try_current() {
                thread.kernel.open_pages.note(page, contents);
            }
        }
        Contents::Nonpaged | Contents::Probed => {}
    }
}

/// Returns the contents of the special page that contains an address, if any.
pub(crate) fn contents(address: usize) -> Option<Contents> {
    page_of(address).map(pages_of_host::contents)
}

/// Returns whether the page of a freed block is closed, so that nothing can have written to it.
pub(crate) fn is_closed(block: usize) -> bool {
    page_of(block).is_some_and(pages_of_host::is_closed)
}

/// Returns where an address is in a special page.
#[cfg(target_os = "linux")]
pub(crate) fn classify(address: usize) -> Option<SpecialAddress> {
    let (page, is_beyond) = pages_of_host::find(address)?;
    let contents = pages_of_host::contents(page);
    Some(if is_beyond {
        SpecialAddress::Beyond(contents)
    } else {
        SpecialAddress::Inside(contents)
    })
}

/// Opens the special page that contains an address, if there is one; returns whether there is. A kernel whose thread accesses it closes
/// it again. The model opens a page before it reads it, since the handler for faults takes much longer.
pub(crate) fn open(address: usize, thread: Option<&Thread>) -> bool {
    let Some(page) = page_of(address) else {
        return false;
    };
    pages_of_host::open(page);
    if let Some(thread) = thread {
        let contents = pages_of_host::contents(page);
        thread.kernel.open_pages.note(page, contents);
    }
    true
}

#[cfg(target_os = "linux")]
mod pages_of_host {
    use std::{
        ffi::c_int,
        ptr::{null_mut, with_exposed_provenance_mut},
        sync::{
            Mutex, OnceLock,
            atomic::{AtomicBool, AtomicU8, Ordering::SeqCst},
        },
    };

    use super::{Contents, PAGES};
    use crate::mutex::locked;

    /// Indexed by the number of the page.
    const ALL: [Contents; 5] = [
        Contents::Nonpaged,
        Contents::Paged,
        Contents::User,
        Contents::Probed,
        Contents::Freed,
    ];

    /// The pages, each before one without access, and the state of each.
    struct Arena {
        start: usize,
        /// The size of a page of the host.
        size: usize,
        free: Mutex<Vec<usize>>,
    }

    static ARENA: OnceLock<Option<Arena>> = OnceLock::new();
    static CONTENTS: [AtomicU8; PAGES] = [const { AtomicU8::new(0) }; PAGES];
    static CLOSED: [AtomicBool; PAGES] = [const { AtomicBool::new(true) }; PAGES];

    impl Arena {
        fn map() -> Option<Self> {
            // SAFETY: the routine only returns a value.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(size).ok()?;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let length = 2 * PAGES * size;
            // SAFETY: the mapping is new, at an address that the host chooses.
            let memory = unsafe { libc::mmap(null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
            (memory != libc::MAP_FAILED).then(|| Self {
                start: memory.expose_provenance(),
                size,
                free: Mutex::new((0..PAGES).rev().collect()),
            })
        }
    }

    fn arena() -> Option<&'static Arena> {
        ARENA.get()?.as_ref()
    }

    pub(super) fn size() -> usize {
        arena().map_or(0, |arena| arena.size)
    }

    pub(super) fn start(page: usize) -> usize {
        arena().map_or(0, |arena| arena.start + 2 * page * arena.size)
    }

    /// Returns the page of an address, and whether the address is in the page without access after it.
    pub(super) fn find(address: usize) -> Option<(usize, bool)> {
        let arena = arena()?;
        let offset = address.checked_sub(arena.start)? / arena.size;
        (offset < 2 * PAGES).then_some((offset / 2, offset % 2 != 0))
    }

    pub(super) fn take() -> Option<usize> {
        let arena = ARENA.get_or_init(Arena::map).as_ref()?;
        let page = locked(&arena.free).pop()?;
        set_contents(page, Contents::Nonpaged);
        open(page);
        Some(page)
    }

    pub(super) fn give_back(page: usize) {
        if let Some(arena) = arena() {
            set_contents(page, Contents::Nonpaged);
            locked(&arena.free).push(page);
        }
    }

    /// Held while the protection of a page and its state change together. The handler for faults also acquires it; a thread that holds it
    /// accesses no special page.
    static PROTECTION: Mutex<()> = Mutex::new(());

    /// Closes or opens a page.
    fn protect(page: usize, is_closed: bool, access: c_int) {
        let _guard = locked(&PROTECTION);
        if CLOSED[page].swap(is_closed, SeqCst) == is_closed {
            return;
        }
        let start = with_exposed_provenance_mut(start(page));
        // SAFETY: the page is the arena's, and a thread that accesses a closed page runs the handler for faults.
        unsafe { libc::mprotect(start, size(), access) };
    }

    pub(super) fn open(page: usize) {
        protect(page, false, libc::PROT_READ | libc::PROT_WRITE);
    }

    pub(super) fn close(page: usize) {
        protect(page, true, libc::PROT_NONE);
    }

    pub(super) fn is_closed(page: usize) -> bool {
        CLOSED[page].load(SeqCst)
    }

    pub(super) fn set_contents(page: usize, contents: Contents) {
        CONTENTS[page].store(contents as u8, SeqCst);
    }

    pub(super) fn contents(page: usize) -> Contents {
        ALL[usize::from(CONTENTS[page].load(SeqCst))]
    }
}

/// Other hosts have no special pages.
#[cfg(not(target_os = "linux"))]
mod pages_of_host {
    use super::Contents;

    pub(super) fn size() -> usize {
        0
    }

    pub(super) fn start(_page: usize) -> usize {
        0
    }

    pub(super) fn find(_address: usize) -> Option<(usize, bool)> {
        None
    }

    pub(super) fn take() -> Option<usize> {
        None
    }

    pub(super) fn give_back(_page: usize) {}

    pub(super) fn open(_page: usize) {}

    pub(super) fn close(_page: usize) {}

    pub(super) fn is_closed(_page: usize) -> bool {
        false
    }

    pub(super) fn set_contents(_page: usize, _contents: Contents) {}

    pub(super) fn contents(_page: usize) -> Contents {
        Contents::Nonpaged
    }
}
