//! An image of this program's memory: every page that is reachable from an address.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    os::unix::fs::FileExt,
};

/// The length of a page.
const PAGE: u64 = 4096;

/// The maximum number of pages. The memory of the test's kernel has fewer.
const MAXIMUM: usize = 8192;

/// Pages by their addresses.
pub struct Image(pub BTreeMap<u64, Vec<u8>>);

impl Image {
    /// Returns the word at an address.
    pub fn word(&self, address: u64) -> u64 {
        let at = in_page(address);
        let page = &self.0[&(address / PAGE * PAGE)];
        u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Changes bytes at an address.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let at = in_page(address);
        let page = self.0.get_mut(&(address / PAGE * PAGE));
        page.expect("the page is in the image")[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn in_page(address: u64) -> usize {
    usize::try_from(address % PAGE).expect("a page is small")
}

/// Returns the page at an address and, recursively, each page to which a word may point. A word that is not a pointer can
/// add a page that is not needed.
pub fn reachable(from: u64) -> Image {
    let memory = File::open("/proc/self/mem").expect("a program's own memory is readable");
    let writable = writable();
    let lowest = writable.iter().map(|(start, _)| *start).min();
    let highest = writable.iter().map(|(_, end)| *end).max();
    let any = lowest.unwrap_or_default()..highest.unwrap_or_default();
    let mut image = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(address) = next.pop_front() {
        let page = address / PAGE * PAGE;
        let is_known = image.contains_key(&page);
        let is_ours = writable
            .iter()
            .any(|(start, end)| (*start..*end).contains(&page));
        if is_known || !is_ours || image.len() == MAXIMUM {
            continue;
        }
        let mut content = vec![0; usize::try_from(PAGE).expect("a page is small")];
        if memory.read_exact_at(&mut content, page).is_err() {
            continue;
        }
        for word in content.chunks_exact(8) {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            // Most words are small numbers.
            if any.contains(&word) {
                next.push_back(word);
            }
        }
        image.insert(page, content);
    }
    Image(image)
}

/// Returns the writable address ranges of this program.
fn writable() -> Vec<(u64, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").expect("a program's own map is readable");
    let lines = maps.lines().filter(|line| line.contains(" rw"));
    let ranges = lines.filter_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some((
            u64::from_str_radix(start, 16).ok()?,
            u64::from_str_radix(end, 16).ok()?,
        ))
    });
    ranges.collect()
}
