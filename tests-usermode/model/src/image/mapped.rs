//! Images in memory, which are loaded as Windows loads them and found by address.

use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use region::Protection;

use super::{
    c_library,
    file::{File, Import, PAGE, Section},
    guard, inlines,
    memory::Memory,
    paged::Paged,
    routines,
    stubs::Stubs,
    symbols::Symbols,
    thunks,
    unwind::Unwinder,
};
use crate::image::ImageError;

/// The memory of the mapped images.
static MAPPED: RwLock<Vec<Arc<Mapped>>> = RwLock::new(Vec::new());

/// Whether an image was ever mapped; most programs map none.
static ANY: AtomicBool = AtomicBool::new(false);

/// Whether an image with pageable sections was ever mapped.
static ANY_PAGED: AtomicBool = AtomicBool::new(false);

struct Mapped {
    addresses: Range<usize>,
    unwinder: Unwinder,
    /// The path and the bytes of the file, for its PDB.
    file: Option<(PathBuf, Vec<u8>)>,
    symbols: OnceLock<Symbols>,
    paged: Paged,
}

impl Mapped {
    /// Returns the function at an address, with its file and line or its offset in the image, if it is in the driver's
    /// own source.
    fn describe(&self, address: usize, short: fn(&str) -> String) -> Option<String> {
        let symbols = self.symbols.get_or_init(|| {
            let file = self.file.as_ref();
            file.map_or_else(Symbols::default, |(path, bytes)| Symbols::of(path, bytes))
        });
        let offset = u32::try_from(address - self.addresses.start).ok()?;
        let Some((name, line)) = symbols.find(offset) else {
            return Some(format!("the image at {offset:#x}"));
        };
        match line {
            Some((file, _)) if file.starts_with("/rustc/") => None,
            Some((file, line)) => Some(format!("{} ({file}:{line})", short(name))),
            None => Some(format!("{} (the image at {offset:#x})", short(name))),
        }
    }
}

/// Calls a closure with the image that contains an address. The closure calls no other function of this module.
fn with_mapped<T>(address: usize, work: impl FnOnce(&Arc<Mapped>) -> T) -> Option<T> {
    if !ANY.load(Ordering::Acquire) {
        return None;
    }
    let mapped = MAPPED.read().unwrap_or_else(PoisonError::into_inner);
    let mut mapped = mapped.iter();
    mapped
        .find(|image| image.addresses.contains(&address))
        .map(work)
}

fn mapped(address: usize) -> Option<Arc<Mapped>> {
    with_mapped(address, Arc::clone)
}

/// Returns whether an address is in an image, so that code there has the Microsoft x64 calling convention.
#[cfg(target_os = "linux")]
pub(crate) fn contains(address: usize) -> bool {
    offset(address).is_some()
}

/// Returns whether an image has pageable sections.
#[inline]
pub(crate) fn any_paged() -> bool {
    ANY_PAGED.load(Ordering::Relaxed)
}

/// Closes the pageable sections of the images, since a thread continues in a driver at `DISPATCH_LEVEL`.
pub(crate) fn close_paged() {
    if !any_paged() {
        return;
    }
    let mapped = MAPPED.read().unwrap_or_else(PoisonError::into_inner);
    for image in mapped.iter() {
        image.paged.close();
    }
}

/// Returns whether an address is in a pageable section of an image.
#[cfg(target_os = "linux")]
pub(crate) fn is_paged(address: usize) -> bool {
    with_mapped(address, |image| image.paged.contains(address)).unwrap_or_default()
}

/// Opens the pageable sections of the image at an address; returns whether they were closed.
#[cfg(target_os = "linux")]
pub(crate) fn open_paged(address: usize) -> bool {
    with_mapped(address, |image| image.paged.open()).unwrap_or_default()
}

/// Locks or unlocks the pageable section of an address, if it is in one. Returns whether it is not unlocked once too often.
pub(crate) fn lock_section(address: usize, locks: bool) -> bool {
    with_mapped(address, |image| image.paged.lock(address, locks)).unwrap_or(true)
}

/// Returns the offset of an address in its image, if it is in one.
pub(crate) fn offset(address: usize) -> Option<usize> {
    with_mapped(address, |image| address - image.addresses.start)
}

/// Calls a function with each return address of an image on the stack, the innermost first, until it returns false.
/// Returns whether the first address, which is passed with its stack pointer, is in an image.
pub(crate) fn walk(address: usize, stack: usize, mut found: impl FnMut(usize) -> bool) -> bool {
    let Some(image) = mapped(address) else {
        return false;
    };
    let base = image.addresses.start;
    let found = |address| found(base + address);
    // SAFETY: the caller is on that stack.
    unsafe { image.unwinder.walk(base, address - base, stack, found) };
    true
}

/// Returns the function, with a shortened name, and the file and line at an address of an image.
pub(crate) fn describe(address: usize, short: fn(&str) -> String) -> Option<String> {
    mapped(address)?.describe(address, short)
}

/// A driver's image, mapped into this program.
pub struct Image {
    name: String,
    memory: Memory,
    entry: usize,
    discardable: Vec<Range<usize>>,
    /// The stubs that some of its imports are bound to.
    _stubs: Option<Stubs>,
    /// Whether it has `KeInitializeSpinLock` as an inline function, which sets a lock to zero.
    has_inline_locks: bool,
}

impl Image {
    /// Maps the image in a file.
    ///
    /// # Errors
    /// See [`ImageError`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ntmodel::{Config, Driver, Image, Kernel};
    ///
    /// let image = Image::load("target/interlock/interlock.sys")?;
    /// let kernel = Kernel::new(Config::default());
    /// // SAFETY: the image is a driver's, and keeps to the documentation of what it imports.
    /// let driver = unsafe { Driver::load_image(&kernel, image) };
    /// # Ok::<(), ntmodel::ImageError>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        Self::load_with(path.as_ref(), OnMissingRoutine::Refused)
    }

    /// Maps the image in a file, although the model lacks some of the routines that it imports. The system stops with the name of
    /// such a routine when the driver calls it ([`Rule::MissingRoutine`](crate::Rule::MissingRoutine)).
    ///
    /// Use it for a test that takes the driver through a part of its code. The value of a variable that the model lacks has no meaning.
    ///
    /// # Errors
    /// See [`ImageError`]; [`ImageError::Missing`] does not occur.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ntmodel::{Config, Driver, Image, ImageError, Kernel};
    ///
    /// let image = match Image::load("driver.sys") {
    ///     Err(error @ ImageError::Missing(_)) => {
    ///         eprintln!("{error}");
    ///         Image::load_partly("driver.sys")?
    ///     }
    ///     loaded => loaded?,
    /// };
    /// let kernel = Kernel::new(Config::default());
    /// // SAFETY: the image is a driver's, and keeps to the documentation of what it imports.
    /// let driver = unsafe { Driver::load_image(&kernel, image) };
    /// # Ok::<(), ImageError>(())
    /// ```
    pub fn load_partly(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        Self::load_with(path.as_ref(), OnMissingRoutine::Stub)
    }

    fn load_with(path: &Path, on_missing: OnMissingRoutine) -> Result<Self, ImageError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(path)?;
        Self::map_with(
            &name,
            &bytes,
            Some((path.to_owned(), bytes.clone())),
            on_missing,
        )
    }

    /// Maps the image in the bytes of a file, under a name for reports.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn map(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        Self::map_with(name, bytes, None, OnMissingRoutine::Refused)
    }

    /// Maps the image in the bytes of a file as [`Image::load_partly`] does, under a name for reports.
    ///
    /// # Errors
    /// As for [`Image::load_partly`].
    pub fn map_partly(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        Self::map_with(name, bytes, None, OnMissingRoutine::Stub)
    }

    fn map_with(
        name: &str,
        bytes: &[u8],
        path: Option<(PathBuf, Vec<u8>)>,
        on_missing: OnMissingRoutine,
    ) -> Result<Self, ImageError> {
        let file = File::parse(bytes)?;
        let imports = bind(&file);
        let missing = imports.iter().filter_map(|import| import.clone().err());
        let missing: Vec<String> = missing.collect();
        let stubs = match (missing.is_empty(), on_missing) {
            (true, _) => None,
            (false, OnMissingRoutine::Refused) => return Err(ImageError::Missing(missing)),
            (false, OnMissingRoutine::Stub) => Some(Stubs::new(missing)?),
        };
        let mut of_stubs = stubs.iter().flat_map(Stubs::addresses);
        if cfg!(windows) {
            let mut code = file.sections.iter().filter(|section| section.executes);
            code.try_for_each(|section| inlines::refuse(section.bytes))?;
        }
        let mut memory = Memory::new(file.size)?;
        let base = memory.start().expose_provenance();
        let own = memory.bytes();
        own[..file.headers.len()].copy_from_slice(file.headers);
        for section in &file.sections {
            own[section.address..section.address + section.bytes.len()]
                .copy_from_slice(section.bytes);
        }
        let moved = (base as u64).wrapping_sub(file.base);
        for place in &file.relocations {
            if let Some(quadword) = own[*place..].first_chunk_mut() {
                *quadword = u64::from_le_bytes(*quadword)
                    .wrapping_add(moved)
                    .to_le_bytes();
            }
        }
        for (import, address) in file.imports.iter().zip(imports) {
            let address = address.unwrap_or_else(|_| of_stubs.next().unwrap_or_default());
            if let Some(slot) = own[import.slot..].first_chunk_mut() {
                *slot = (address as u64).to_le_bytes();
            }
        }
        if let Some(directory) = file.load_config {
            guard::fill_in(own, base as u64, directory)?;
        }
        let unwinder = Unwinder::new(own.to_vec(), file.functions);
        let image = Self {
            name: name.to_owned(),
            entry: base + file.entry,
            discardable: protect(&memory, &file)?,
            _stubs: stubs,
            has_inline_locks: !file.imports.iter().any(|import| {
                let routine = import.routine.as_deref();
                routine == Some("KeInitializeSpinLock")
            }),
            memory,
        };
        let mapped = Arc::new(Mapped {
            addresses: image.memory.range(),
            unwinder,
            file: path,
            symbols: OnceLock::new(),
            paged: Paged::new(base, &file),
        });
        if mapped.paged.any() {
            ANY_PAGED.store(true, Ordering::Relaxed);
        }
        MAPPED
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mapped);
        ANY.store(true, Ordering::Release);
        Ok(image)
    }

    /// Returns the names of the routines that an image can import.
    pub fn routines() -> impl Iterator<Item = &'static str> {
        known().into_iter().map(|(name, _)| name)
    }

    /// Returns the address that an image calls for a routine.
    pub(crate) fn routine(name: &str) -> Option<usize> {
        let mut known = known().into_iter();
        known.find_map(|(routine, address)| (routine == name).then_some(address))
    }

    /// Returns the name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address of the entry point, which has the calling convention of an image.
    pub(crate) fn entry(&self) -> usize {
        self.entry
    }

    /// Returns the addresses of the whole image.
    pub(crate) fn addresses(&self) -> Range<usize> {
        self.memory.range()
    }

    /// Returns whether its spin locks can be zero before they are acquired.
    pub(crate) fn has_inline_locks(&self) -> bool {
        self.has_inline_locks
    }

    /// Unmaps the sections that only `DriverEntry` uses.
    pub(crate) fn discard(&self) -> io::Result<()> {
        let mut ranges = self.discardable.iter();
        ranges.try_for_each(|range| self.memory.protect(range, Protection::NONE))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let range = self.memory.range();
        MAPPED
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|mapped| mapped.addresses != range);
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn known() -> Vec<(&'static str, usize)> {
    let mut known = routines::routines();
    known.extend(thunks::others());
    known.extend(c_library::functions());
    known
}

/// The handling of an image that imports routines that the model lacks.
#[derive(Clone, Copy)]
enum OnMissingRoutine {
    Refused,
    Stub,
}

/// Returns the address of each routine that an image imports, or the name of one that the model lacks.
fn bind(file: &File) -> Vec<Result<usize, String>> {
    let known = known();
    let address_of = |import: &Import| {
        let is_of = |library: &&str| import.library.eq_ignore_ascii_case(library);
        let is_kernel = ["ntoskrnl.exe", "hal.dll"].iter().any(is_of);
        let exports = |name: &str| {
            if thunks::WMI_LIBRARY.contains(&name) {
                is_of(&"wmilib.sys")
            } else {
                is_kernel
            }
        };
        let is_it = |name: &str| import.routine.as_deref() == Some(name) && exports(name);
        let found = known.iter().find(|(name, _)| is_it(name));
        match (found, &import.routine) {
            (Some((_, address)), _) => Ok(*address),
            (None, Some(routine)) if is_kernel => Err(routine.clone()),
            (None, Some(routine)) => Err(format!("{}!{routine}", import.library)),
            (None, None) => Err(format!("a routine of {} by its number", import.library)),
        }
    };
    file.imports.iter().map(address_of).collect()
}

pub(super) fn access(section: &Section) -> Protection {
    match (section.writes, section.executes) {
        (true, true) => Protection::READ_WRITE_EXECUTE,
        (true, false) => Protection::READ_WRITE,
        (false, true) => Protection::READ_EXECUTE,
        (false, false) => Protection::READ,
    }
}

/// Protects the sections as the file specifies; returns those that are discardable.
fn protect(memory: &Memory, file: &File) -> io::Result<Vec<Range<usize>>> {
    let mut discardable = Vec::new();
    memory.protect(&(0..file.size), Protection::NONE)?;
    let headers = 0..file.headers.len().next_multiple_of(PAGE);
    memory.protect(&headers, Protection::READ)?;
    for section in &file.sections {
        let range = section.address..section.address + section.size;
        memory.protect(&range, access(section))?;
        if section.is_discardable {
            discardable.push(range);
        }
    }
    Ok(discardable)
}
