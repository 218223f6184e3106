//! Host memory for tests: pages that are there hold bytes, all others fail.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use crate::Fault;
use crate::addr::HostPhys;
use crate::domain::HostMemory;

/// Host memory by address, page by page.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<u64, Vec<u8>>>);

const PAGE: u64 = 4096;

impl Memory {
    /// Memory of zeroes.
    pub(crate) fn with(start: u64, pages: u64) -> Self {
        let page = |at| (start + at * PAGE, std::vec![0; PAGE as usize]);
        Self(Mutex::new((0..pages).map(page).collect()))
    }

    fn each(&self, at: HostPhys, len: usize, mut byte: impl FnMut(usize, &mut u8)) -> Result<(), Fault> {
        assert!(len <= PAGE as usize, "the lock is held for a page at most");
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for offset in 0..len {
            let address = at.0 + offset as u64;
            let page = pages.get_mut(&(address & !(PAGE - 1))).ok_or(Fault::BadAddress)?;
            byte(offset, &mut page[(address % PAGE) as usize]);
        }
        Ok(())
    }
}

impl HostMemory for Memory {
    fn read(&self, from: HostPhys, data: &mut [u8]) -> Result<(), Fault> {
        self.each(from, data.len(), |offset, byte| data[offset] = *byte)
    }

    fn write(&self, to: HostPhys, data: &[u8]) -> Result<(), Fault> {
        self.each(to, data.len(), |offset, byte| *byte = data[offset])
    }
}
