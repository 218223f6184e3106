//! The device table: an entry of four words for each requester id, up to the highest that can exist.
//!
//! An entry is changed word by word, and a word in one store, so that the unit never sees half a field. Callers change no two words
//! that must agree without an invalidation in between: see [`AmdVi::attach`](super::AmdVi::attach).

use super::Hardware;
use crate::addr::HostPhys;
use spec::amdvi::device_table::{self as wire, Domain, Interrupt, Translation};
use spec::ivrs::Settings;

/// The table, in memory of its own.
#[derive(Debug)]
pub(super) struct DeviceTable {
    base: HostPhys,
    entries: u32,
}

/// The four words of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) [u64; wire::WORDS]);

impl Entry {
    /// The entry of a requester in quarantine: valid, a page table that maps nothing, no rights, and interrupts blocked but for
    /// what firmware demands that it passes. A page table rather than Mode 0, which units with SNP call illegal.
    pub(super) const fn quarantine(empty: HostPhys, levels: u8, domain: u16, settings: Settings) -> Self {
        Self([
            translation(empty, levels) & !(Translation::READ.bits() | Translation::WRITE.bits()),
            domain_of(domain, settings),
            blocked(settings),
            0,
        ])
    }
}

/// The first word of a requester in a domain whose page table is at `root`.
pub(super) const fn translation(root: HostPhys, levels: u8) -> u64 {
    Translation::VALID
        .union(Translation::TRANSLATION_VALID)
        .union(Translation::READ)
        .union(Translation::WRITE)
        .bits()
        | (levels as u64) << wire::MODE_SHIFT
        | root.0 & wire::ROOT
}

/// The second word: the domain's number. Devices keep no translations (I), faults are logged, ports and the exclusion range
/// are blocked.
pub(super) const fn domain_of(number: u16, settings: Settings) -> u64 {
    let management = settings.intersection(Settings::SYSTEM_MANAGEMENT).bits() >> 4;
    let word = number as u64 | (management as u64) << wire::SYSTEM_MANAGEMENT_SHIFT;
    debug_assert!(word & Domain::all().bits() == 0);
    word
}

/// The third word of a requester that raises no interrupts.
pub(super) const fn blocked(settings: Settings) -> u64 {
    let mut word = Interrupt::VALID.bits();
    let passes = [
        (Settings::INIT, Interrupt::INIT),
        (Settings::EXTERNAL_INTERRUPT, Interrupt::EXTERNAL_INTERRUPT),
        (Settings::NMI, Interrupt::NMI),
        (Settings::LINT0, Interrupt::LINT0),
        (Settings::LINT1, Interrupt::LINT1),
    ];
    let mut at = 0;
    while at < passes.len() {
        if settings.contains(passes[at].0) {
            word |= passes[at].1.bits();
        }
        at += 1;
    }
    word
}

/// The third word of a requester whose interrupts go through the table at `table`, of 2^`log2` entries.
pub(super) const fn remapped(table: HostPhys, log2: u32) -> u64 {
    Interrupt::VALID.union(Interrupt::REMAPPED).bits()
        | (log2 as u64) << wire::INTERRUPT_LENGTH_SHIFT
        | table.0 & wire::INTERRUPT_ROOT
}

/// Entries in 4 KiB, of which a table is made.
const IN_PAGE: u32 = (4096 / wire::ENTRY_BYTES) as u32;

impl DeviceTable {
    /// A table for the requester ids up to `last`, each with the entry that `entry` gives. A unit blocks ids beyond its table
    /// (IO_PAGE_FAULT). `None` without memory.
    pub(super) fn new<H: Hardware>(
        hardware: &mut H,
        last: u16,
        entry: impl Fn(u16) -> Entry,
    ) -> Option<Self> {
        let entries = (u32::from(last) + 1).next_multiple_of(IN_PAGE);
        let base = hardware.allocate(u64::from(entries) * wire::ENTRY_BYTES)?;
        let table = Self { base, entries };
        for id in (0..entries).filter_map(|id| u16::try_from(id).ok()) {
            let Entry(words) = entry(id);
            for (word, value) in words.into_iter().enumerate() {
                table.set(hardware, id, word, value);
            }
        }
        Some(table)
    }

    /// Whether there is an entry for `id`.
    pub(super) fn has(&self, id: u16) -> bool {
        u32::from(id) < self.entries
    }

    /// How many entries there are.
    pub(super) const fn entries(&self) -> u32 {
        self.entries
    }

    /// What the base register takes.
    pub(super) const fn register(&self) -> u64 {
        self.base.0 | (self.entries / IN_PAGE - 1) as u64
    }

    /// Writes word `word` of the entry for `id`; nothing if there is none.
    pub(super) fn set<H: Hardware>(&self, hardware: &mut H, id: u16, word: usize, value: u64) {
        if self.has(id) && word < wire::WORDS {
            let at = self.base.0 + u64::from(id) * wire::ENTRY_BYTES + word as u64 * 8;
            hardware.store(HostPhys(at), value);
        }
    }

    /// Gives the memory back; the unit has never seen it.
    pub(super) fn free<H: Hardware>(self, hardware: &mut H) {
        hardware.free(self.base, u64::from(self.entries) * wire::ENTRY_BYTES);
    }
}
