//! The IRPs of a queue by key, in a treap: finding, inserting and removing an IRP takes O(log n) steps for any
//! choice of keys. A removal takes a constant number on average, since it starts at the node.
//!
//! A treap is a search tree by key and a heap by random priority, which keeps it balanced: the depth of 100,000
//! nodes is about 40. A user cannot choose keys that make it deeper, since the priorities do not depend on the keys
//! and are not known.
//!
//! An index keeps the node of a removed IRP and uses it for a later IRP. So it allocates only as many nodes as it has contained
//! IRPs at one time, and not one for each request.

use alloc::boxed::Box;
use core::{
    ffi::c_void,
    ptr::{NonNull, null_mut},
};

use pinned_init::try_init;

use crate::{Error, ex::pool};

/// The node of an IRP in an index, allocated from the pool; or a spare one.
pub(crate) struct KeyNode {
    /// The key and a sequence number, so that nodes with the same key are in the order of insertion.
    place: (u64, u64),
    irp: *mut nt::IRP,
    /// The value of argument 4 of the IRP before it pointed to this node. A lower driver may use it.
    argument4: *mut c_void,
    /// NULL in the root.
    parent: *mut KeyNode,
    /// In a spare node, the next one.
    less: *mut KeyNode,
    greater: *mut KeyNode,
}

impl KeyNode {
    /// Allocates a node that is in no index.
    #[cold]
    pub(crate) fn allocate() -> Result<Box<Self>, Error> {
        let node = pool::allocate(try_init!(Self {
            place: (0, 0),
            irp: null_mut(),
            argument4: null_mut(),
            parent: null_mut(),
            less: null_mut(),
            greater: null_mut(),
        }? Error))?;
        // SAFETY: the node was just allocated, from the pool as a `Box` is.
        Ok(unsafe { Box::from_raw(node) })
    }

    /// Returns the node's priority. No node has a higher one than its parent.
    fn priority(&self) -> u64 {
        mix(core::ptr::from_ref(self).addr() as u64)
    }

    /// Returns the child on the side where a node with this `place` is, or would be.
    fn towards(&mut self, place: (u64, u64)) -> &mut *mut Self {
        if place < self.place {
            &mut self.less
        } else {
            &mut self.greater
        }
    }
}

/// # Invariants
///
/// Every node is valid, was a `Box`, and is accessed only through the index. It is either below the root or spare.
pub(crate) struct KeyIndex {
    root: *mut KeyNode,
    /// The first node that no IRP uses.
    spare: *mut KeyNode,
    /// The number of nodes that were inserted so far.
    inserted: u64,
}

// SAFETY: the index owns the nodes, which are not tied to a thread.
unsafe impl Send for KeyIndex {}

impl KeyIndex {
    pub(crate) const fn new() -> Self {
        Self {
            root: null_mut(),
            spare: null_mut(),
            inserted: 0,
        }
    }

    /// Returns whether there is a spare node.
    pub(crate) const fn has_spare(&self) -> bool {
        !self.spare.is_null()
    }

    /// Adds a spare node.
    pub(crate) fn add_spare(&mut self, node: Box<KeyNode>) {
        let node = Box::into_raw(node);
        // SAFETY: the node was just given up.
        unsafe { self.keep(node) };
    }

    /// Makes a node a spare one.
    ///
    /// # Safety
    /// The node was a `Box`, is not below the root and not spare, and the caller gives it up.
    unsafe fn keep(&mut self, node: *mut KeyNode) {
        // SAFETY: guaranteed by the caller.
        unsafe { (*node).less = self.spare };
        self.spare = node;
    }

    /// Inserts an IRP after those with the same key, with a spare node, and returns the node; `None` if there is none. The node
    /// keeps the IRP's argument 4.
    pub(crate) fn insert(
        &mut self,
        irp: *mut nt::IRP,
        key: u64,
        argument4: *mut c_void,
    ) -> Option<NonNull<KeyNode>> {
        let result = NonNull::new(self.spare)?;
        self.inserted += 1;
        let node = result.as_ptr();
        // SAFETY: a spare node is valid, and no other code uses it.
        let new = unsafe { &mut *node };
        self.spare = new.less;
        new.irp = irp;
        new.argument4 = argument4;
        new.place = (key, self.inserted);
        let priority = new.priority();
        new.parent = null_mut();
        let mut at = &mut self.root;
        loop {
            let link = *at;
            // SAFETY: by the invariant.
            let Some(above) = (unsafe { link.as_mut() }) else {
                break;
            };
            if above.priority() < priority {
                break;
            }
            // Not a pointer that is made from `above`, which is valid only as long as that reference.
            new.parent = link;
            at = above.towards(new.place);
        }
        // The node replaces the subtree at that position, which is split into the nodes below and above it.
        let mut rest = core::mem::replace(at, node);
        let (mut less, mut greater) = (&mut new.less, &mut new.greater);
        let (mut parent_of_less, mut parent_of_greater) = (node, node);
        // SAFETY: by the invariant.
        while let Some(below) = unsafe { rest.as_mut() } {
            if below.place < new.place {
                *less = rest;
                below.parent = core::mem::replace(&mut parent_of_less, rest);
                less = &mut below.greater;
                rest = *less;
            } else {
                *greater = rest;
                below.parent = core::mem::replace(&mut parent_of_greater, rest);
                greater = &mut below.less;
                rest = *greater;
            }
        }
        *less = null_mut();
        *greater = null_mut();
        Some(result)
    }

    /// Removes the node of an IRP, which becomes a spare one, and returns argument 4.
    ///
    /// # Safety
    /// [`KeyIndex::insert`] of this index returned the node, and it has not been removed yet.
    pub(crate) unsafe fn remove(&mut self, node: NonNull<KeyNode>) -> *mut c_void {
        // SAFETY: guaranteed by the caller.
        unsafe { self.unlink(node.as_ptr()) };
        // SAFETY: the node is in the index, but no longer below the root.
        unsafe { self.keep(node.as_ptr()) };
        // SAFETY: a spare node is valid.
        unsafe { node.as_ref() }.argument4
    }

    /// Takes a node out of the tree.
    ///
    /// # Safety
    /// The node is below the root.
    unsafe fn unlink(&mut self, node: *mut KeyNode) {
        // SAFETY: the node is valid by the invariant.
        let removed = unsafe { &*node };
        let (place, mut parent) = (removed.place, removed.parent);
        let (mut less, mut greater) = (removed.less, removed.greater);
        // SAFETY: by the invariant.
        let mut at = match unsafe { parent.as_mut() } {
            Some(parent) => parent.towards(place),
            None => &mut self.root,
        };
        // Merges its two subtrees at its position.
        loop {
            // SAFETY: by the invariant.
            let Some(one) = (unsafe { less.as_mut() }) else {
                *at = greater;
                // SAFETY: as above.
                if let Some(other) = unsafe { greater.as_mut() } {
                    other.parent = parent;
                }
                return;
            };
            // SAFETY: as above; no node is a child on both sides.
            let Some(other) = (unsafe { greater.as_mut() }) else {
                *at = less;
                one.parent = parent;
                return;
            };
            if one.priority() > other.priority() {
                *at = less;
                one.parent = core::mem::replace(&mut parent, less);
                at = &mut one.greater;
                less = *at;
            } else {
                *at = greater;
                other.parent = core::mem::replace(&mut parent, greater);
                at = &mut other.less;
                greater = *at;
            }
        }
    }

    /// Returns the IRP that was inserted first with a key, or `None` if there is none.
    pub(crate) fn first(&self, key: u64) -> Option<*mut nt::IRP> {
        let node = self.first_node(key)?;
        // SAFETY: by the invariant.
        Some(unsafe { node.as_ref() }.irp)
    }

    /// Returns the node of [`KeyIndex::first`].
    pub(crate) fn first_node(&self, key: u64) -> Option<NonNull<KeyNode>> {
        let (mut at, mut first) = (self.root, null_mut());
        // SAFETY: by the invariant.
        while let Some(node) = unsafe { at.as_ref() } {
            if node.place.0 < key {
                at = node.greater;
            } else {
                // The smallest node so far that is not below the key.
                first = at;
                at = node.less;
            }
        }
        // SAFETY: by the invariant.
        NonNull::new(first).filter(|node| unsafe { node.as_ref() }.place.0 == key)
    }
}

impl Drop for KeyIndex {
    fn drop(&mut self) {
        while let Some(root) = NonNull::new(self.root) {
            // SAFETY: the root is in the index.
            unsafe { self.remove(root) };
        }
        while let Some(node) = NonNull::new(self.spare) {
            // SAFETY: by the invariant.
            let node = unsafe { Box::from_raw(node.as_ptr()) };
            self.spare = node.less;
        }
    }
}

/// A bijective mix of the bits of a number (the output function of `SplitMix64`).
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec::Vec};

    use super::*;

    /// An address for an IRP, which is never dereferenced.
    fn irp(number: u64) -> *mut nt::IRP {
        core::ptr::without_provenance_mut(usize::try_from(number).expect("64 bits") + 1)
    }

    /// Checks the order of all nodes and returns the depth of the tree.
    fn depth(node: *mut KeyNode) -> usize {
        // SAFETY: the tests pass a node of an index.
        let Some(node) = (unsafe { node.as_ref() }) else {
            return 0;
        };
        for (child, is_less) in [(node.less, true), (node.greater, false)] {
            // SAFETY: as above.
            if let Some(child) = unsafe { child.as_ref() } {
                assert!(core::ptr::eq(child.parent, node));
                assert_eq!(child.place < node.place, is_less);
                assert!(child.priority() <= node.priority());
            }
        }
        1 + depth(node.less).max(depth(node.greater))
    }

    /// Inserts an IRP, with a new node if there is no spare one.
    fn insert(index: &mut KeyIndex, number: u64, key: u64) -> NonNull<KeyNode> {
        if !index.has_spare() {
            assert!(index.insert(irp(number), key, null_mut()).is_none());
            index.add_spare(KeyNode::allocate().expect("memory"));
        }
        index
            .insert(irp(number), key, null_mut())
            .expect("a spare node")
    }

    /// Inserts and removes nodes and compares the results with a `BTreeMap`.
    fn compare(steps: u64, keys: u64) {
        let mut index = KeyIndex::new();
        let mut model = BTreeMap::<(u64, u64), NonNull<KeyNode>>::new();
        for step in 0..steps {
            let random = mix(step + 1);
            let key = random % keys;
            if random >> 40 & 3 < 2 || model.is_empty() {
                model.insert((key, step), insert(&mut index, step, key));
            } else {
                // A random node with this key or a higher one.
                let from = (key, random >> 20 & (steps - 1));
                let chosen = model.range(from..).next().or(model.iter().next());
                let (&place, &node) = chosen.expect("it is not empty");
                model.remove(&place);
                // SAFETY: the node is in the index, and was in the model.
                unsafe { index.remove(node) };
            }
            if step.is_power_of_two() {
                depth(index.root);
            }
            let expected = model.range((key, 0)..=(key, u64::MAX)).next();
            assert_eq!(index.first(key), expected.map(|(&(_, step), _)| irp(step)));
        }
        depth(index.root);
        for node in model.into_values() {
            // SAFETY: as above.
            unsafe { index.remove(node) };
        }
        assert!(index.root.is_null());
    }

    #[test]
    fn index_agrees_with_a_sorted_map() {
        let steps = if cfg!(miri) { 256 } else { 16_384 };
        for keys in [1, 3, 1000, u64::MAX] {
            compare(steps, keys);
        }
    }

    #[test]
    fn sorted_keys_do_not_make_the_tree_deep() {
        let count = if cfg!(miri) { 128 } else { 100_000 };
        let mut index = KeyIndex::new();
        let nodes: Vec<_> = (0..count).map(|key| insert(&mut index, key, key)).collect();
        // With high probability a random tree of n nodes is less than 4.4 ln n deep; the expected depth for 100,000
        // is about 40. A list would be `count` deep.
        assert!(depth(index.root) < 64, "{}", depth(index.root));
        for node in nodes {
            // SAFETY: the node is in the index.
            unsafe { index.remove(node) };
        }
    }
}
