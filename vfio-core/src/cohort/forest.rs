//! Union-find over the numbers of devices: near enough linear in what is joined.

use alloc::vec::Vec;

/// Trees whose roots are their smallest members.
pub(super) struct Forest(Vec<usize>);

impl Forest {
    /// `len` trees of one member each.
    pub(super) fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    /// The smallest number in the tree of `at`; shortens the path on the way.
    pub(super) fn root(&mut self, mut at: usize) -> usize {
        while let Some(&above) = self.0.get(at) {
            if above == at {
                break;
            }
            let next = self.0.get(above).copied().unwrap_or(above);
            if let Some(slot) = self.0.get_mut(at) {
                *slot = next;
            }
            at = next;
        }
        at
    }

    /// Makes one tree of two; whether they were two.
    pub(super) fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        // A component is named by its first member, so that numbers follow the order of devices.
        if let Some(slot) = self.0.get_mut(a.max(b)) {
            *slot = a.min(b);
        }
        a != b
    }
}
