//! The command buffer: a few commands at a time, each time with a COMPLETION_WAIT whose store is waited for, for a bounded time.
//!
//! Since every call waits, the buffer is empty when the next one begins, and the head register need not be read. (QEMU 7.2 leaves it
//! at the end of the buffer where it should wrap.)

use super::Hardware;
use super::error::Misbehaviour;
use super::hardware::poll;
use crate::addr::HostPhys;
use spec::amdvi::command::{self as wire, code};
use spec::amdvi::registers as register;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Forget the device table entry of a requester.
    DeviceEntry(u16),
    /// Forget translations of a domain, links to tables included.
    Pages {
        /// Its number.
        domain: u16,
        /// Where: [`wire::PAGES_ALL`] with S, or as [`pages`] makes it.
        operand: u64,
    },
    /// Forget the interrupt table of a requester.
    InterruptTable(u16),
    /// Forget everything.
    All,
}

impl Command {
    const fn words(self) -> [u64; 2] {
        const fn first(code: u64, rest: u64) -> u64 {
            code << wire::CODE_SHIFT | rest
        }
        match self {
            Self::DeviceEntry(id) => [first(code::INVALIDATE_DEVTAB_ENTRY, id as u64), 0],
            Self::Pages { domain, operand } => [
                first(
                    code::INVALIDATE_IOMMU_PAGES,
                    (domain as u64) << wire::DOMAIN_SHIFT,
                ),
                operand,
            ],
            Self::InterruptTable(id) => [first(code::INVALIDATE_INTERRUPT_TABLE, id as u64), 0],
            Self::All => [first(code::INVALIDATE_IOMMU_ALL, 0), 0],
        }
    }

    /// Everything of a domain.
    pub(super) const fn domain(domain: u16) -> Self {
        Self::Pages {
            domain,
            operand: wire::PAGES_ALL | wire::PAGES_SIZE | wire::PAGES_DIRECTORY,
        }
    }

    /// The smallest power of two of pages that has all from `first` to `last`, inclusive, of a domain.
    pub(super) const fn pages(domain: u16, first: u64, last: u64) -> Self {
        let differ = (first ^ last) >> 12;
        if differ == 0 {
            return Self::Pages {
                domain,
                operand: first & !0xfff | wire::PAGES_DIRECTORY,
            };
        }
        // The highest bit in which the two differ is 0 in `first`; with all below it set, it is the lowest that is 0.
        let top = 12 + 63 - differ.leading_zeros();
        if top >= 52 {
            return Self::domain(domain);
        }
        let operand = (first | ((1 << top) - 1)) & !0xfff;
        Self::Pages {
            domain,
            operand: operand | wire::PAGES_SIZE | wire::PAGES_DIRECTORY,
        }
    }
}

/// Bytes of the buffer: 256 commands.
const BYTES: u64 = register::ENTRY_BYTES << register::LENGTH_LEAST;
/// The most commands of one call, with room for the wait.
pub(super) const MOST: usize = 128;

/// The buffer, and where the unit stores that it is done.
#[derive(Debug)]
pub(super) struct Commands {
    buffer: HostPhys,
    cell: HostPhys,
    tail: u64,
    waits: u64,
    sent: u64,
}

impl Commands {
    /// An empty buffer; `None` without memory.
    pub(super) fn new<H: Hardware>(hardware: &mut H) -> Option<Self> {
        let buffer = hardware.allocate(BYTES)?;
        let Some(cell) = hardware.allocate(4096) else {
            hardware.free(buffer, BYTES);
            return None;
        };
        Some(Self {
            buffer,
            cell,
            tail: 0,
            waits: 0,
            sent: 0,
        })
    }

    /// What the base register takes.
    pub(super) const fn register(&self) -> u64 {
        self.buffer.0 | register::LENGTH_LEAST << register::LENGTH_SHIFT
    }

    /// Commands sent so far, waits included.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Has the unit carry out `commands`, at most [`MOST`] of them, and waits until it has.
    ///
    /// # Errors
    /// It has not, within about a second.
    pub(super) fn run<H: Hardware>(
        &mut self,
        hardware: &mut H,
        commands: &[Command],
    ) -> Result<(), Misbehaviour> {
        debug_assert!(commands.len() <= MOST);
        for command in commands {
            self.push(hardware, command.words());
        }
        self.waits += 1;
        let (cell, expected) = (self.cell, self.waits);
        let wait = code::COMPLETION_WAIT << wire::CODE_SHIFT
            | cell.0 & wire::WAIT_ADDRESS
            | wire::WAIT_FLUSH
            | wire::WAIT_STORE;
        self.push(hardware, [wait, expected]);
        hardware.write(register::COMMAND_TAIL, self.tail);
        let done = poll(hardware, |hardware| {
            (hardware.load(cell) == expected).then_some(())
        });
        done.ok_or_else(|| Misbehaviour::Timeout {
            head: hardware.read(register::COMMAND_HEAD) & register::POINTER,
            tail: self.tail,
        })
    }

    fn push<H: Hardware>(&mut self, hardware: &mut H, words: [u64; 2]) {
        let at = self.buffer.0 + self.tail;
        hardware.store(HostPhys(at), words[0]);
        hardware.store(HostPhys(at + 8), words[1]);
        self.tail = (self.tail + register::ENTRY_BYTES) % BYTES;
        self.sent += 1;
    }

    /// Gives the memory back; the unit has never seen it.
    pub(super) fn free<H: Hardware>(self, hardware: &mut H) {
        hardware.free(self.buffer, BYTES);
        hardware.free(self.cell, 4096);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the manual says that an operand means (section 2.4.3), as first and last address.
    fn meaning(operand: u64) -> (u64, u64) {
        let address = operand & !0xfff;
        if operand & 1 == 0 {
            return (address, address | 0xfff);
        }
        if address == wire::PAGES_ALL {
            return (0, u64::MAX);
        }
        let mut bit = 12;
        while address >> bit & 1 == 1 {
            bit += 1;
        }
        let mask = (1u64 << (bit + 1)) - 1;
        (address & !mask, address | mask)
    }

    proptest! {
        #[test]
        fn an_operand_covers_the_range_and_no_more_than_the_next_power_of_two(
            first in any::<u64>(), size in any::<u64>(), shift in 0u32..64,
        ) {
            let first = first & !0xfff;
            let last = first.saturating_add(size >> shift) | 0xfff;
            let Command::Pages { domain, operand } = Command::pages(7, first, last) else { unreachable!() };
            let (from, to) = meaning(operand);
            prop_assert_eq!(domain, 7);
            prop_assert!(from <= first && last <= to);
            prop_assert!(operand & wire::PAGES_DIRECTORY != 0);
            let smallest = (12..64).find(|bit| first >> bit == last >> bit);
            if let Some(bit) = smallest.filter(|bit| *bit <= 52) {
                prop_assert_eq!(to - from, (1u64 << bit) - 1);
            }
        }
    }
}
