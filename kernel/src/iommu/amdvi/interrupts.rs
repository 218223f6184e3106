//! Interrupts of devices: a table for each requester, of which an entry is one interrupt of one function.
//!
//! A message carries the number of its entry as data, and nothing else of it counts: where the interrupt goes stands in the entry, which
//! only the hypervisor writes. What has no entry is blocked. An entry changes in one store and is never disabled while it is routed
//! anew, so that an interrupt arrives by the old route or by the new one.

use super::commands::Command;
use super::device_table::remapped;
use super::{AmdVi, Error, Hardware};
use crate::addr::HostPhys;
use alloc::collections::BTreeMap;
use spec::amdvi::interrupt::{self as wire, Entry};
use spec::lapic::FIRST_VECTOR;
use vfio_core::pci::Bdf;

/// Entries of a table, as in every unit.
const ENTRIES: u16 = 1 << wire::MOST_LOG2;
/// Bytes of a table's memory.
const BYTES: u64 = 4096;

/// The interrupts of one requester.
#[derive(Debug)]
pub(super) struct InterruptTable {
    base: HostPhys,
    /// Which entry each interrupt has: function, and number of its message.
    used: BTreeMap<(Bdf, u16), u16>,
}

impl InterruptTable {
    /// The entry of a message, or a free one. The number of the message where that is free, so that what is written to the device
    /// says most about itself.
    fn index(&self, source: (Bdf, u16)) -> Option<u16> {
        let free = |index: &u16| *index < ENTRIES && self.used.values().all(|used| used != index);
        self.used
            .get(&source)
            .copied()
            .or_else(|| core::iter::once(source.1).chain(0..ENTRIES).find(free))
    }

    fn set<H: Hardware>(&self, hardware: &mut H, index: u16, entry: Entry) {
        let at = self.base.0 + u64::from(index) * wire::ENTRY_BYTES;
        hardware.store_half(HostPhys(at), entry.into_bits());
    }

    /// Gives the memory back, when the unit has forgotten the table.
    pub(super) fn free<H: Hardware>(self, hardware: &mut H) {
        hardware.free(self.base, BYTES);
    }
}

impl<H: Hardware> AmdVi<H> {
    /// Routes message `message` of `function`, which speaks as `requester`, to `vector` of the local APIC `apic`, or routes it anew.
    /// Returns what the device must write to [`wire::FIRST_ADDRESS`].
    ///
    /// # Errors
    /// The requester is in quarantine, has no entry left, the target cannot be, or the unit fails.
    pub fn route(
        &mut self,
        requester: Bdf,
        (function, message): (Bdf, u16),
        apic: u32,
        vector: u8,
    ) -> Result<u16, Error> {
        self.check_service()?;
        let id = self.id_of(requester)?;
        if !self.places.contains_key(&id) {
            return Err(Error::Quarantined(requester));
        }
        let destination = u8::try_from(apic).map_err(|_| Error::Target { apic, vector })?;
        if vector < FIRST_VECTOR {
            return Err(Error::Target { apic, vector });
        }
        let fresh = !self.interrupts.contains_key(&id);
        if fresh {
            let base = self.hardware.allocate(BYTES).ok_or(Error::NoMemory)?;
            let table = InterruptTable {
                base,
                used: BTreeMap::new(),
            };
            self.interrupts.insert(id, table);
        }
        let Some(table) = self.interrupts.get_mut(&id) else {
            return Err(Error::NoMemory);
        };
        let index = table
            .index((function, message))
            .ok_or(Error::NoInterrupts(requester))?;
        table.used.insert((function, message), index);
        let entry = Entry::new()
            .with_enabled(true)
            .with_destination(destination)
            .with_vector(vector);
        table.set(&mut self.hardware, index, entry);
        if fresh {
            let word = remapped(table.base, wire::MOST_LOG2);
            self.table.set(&mut self.hardware, id, 2, word);
            self.run(&[Command::DeviceEntry(id), Command::InterruptTable(id)])?;
        } else {
            self.run(&[Command::InterruptTable(id)])?;
        }
        Ok(index)
    }

    /// Takes back all that was routed for `function`; none of it is raised afterwards.
    ///
    /// # Errors
    /// The unit fails.
    pub fn release(&mut self, function: Bdf) -> Result<(), Error> {
        self.check_service()?;
        let mut commands = alloc::vec::Vec::new();
        for (id, table) in &mut self.interrupts {
            let before = table.used.len();
            let own = |(source, _): &(&(Bdf, u16), &u16)| source.0 == function;
            for (_, index) in table.used.iter().filter(own) {
                let at = table.base.0 + u64::from(*index) * wire::ENTRY_BYTES;
                self.hardware.store_half(HostPhys(at), Entry::new().into_bits());
            }
            table.used.retain(|source, _| source.0 != function);
            if table.used.len() < before {
                commands.push(Command::InterruptTable(*id));
            }
        }
        for commands in commands.chunks(super::commands::MOST) {
            self.run(commands)?;
        }
        Ok(())
    }
}
