//! MSI and MSI-X of an assigned function: off while nobody owns it, then vector by vector as the guest routes.
//!
//! The real registers are the hypervisor's: a guest's writes never reach them, only [`Assigner::route`] and
//! [`Assigner::route_msi`] do.

use super::Assigner;
use crate::iommu::{Message, Source, Target, Unit};
use crate::pci::{self, ConfigAccess, Function, MmioAccess, Registers};
use vfio_core::Fault;
use vfio_core::clock::Clock;
use vfio_core::pci::spec::{msi, msix};

impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> Assigner<C, K, M, U> {
    /// The message by which `function` raises `vector` at the local APIC `apic`: an entry of the IOMMU where that remaps interrupts.
    fn message(&self, function: &Function, entry: u16, apic: u8, vector: u8) -> Result<Message, Fault> {
        let requester = self.requesters.get(&function.bdf).ok_or(Fault::Unknown)?;
        let source = Source {
            function: function.bdf,
            requester: *requester,
            entry,
        };
        let target = Target {
            apic: apic.into(),
            vector,
        };
        self.iommus.route(source, target)
    }

    /// Turns MSI off.
    pub fn silence_msi(&self, function: &Function) {
        if let Some(found) = &function.msi {
            let registers = Registers::new(&self.config, function.bdf);
            let control = registers.u16(found.offset + msi::CONTROL);
            registers.set_u16(found.offset + msi::CONTROL, control & !msi::ENABLE);
        }
    }

    /// Has MSI of the function, with one vector, raise `vector` at the local APIC `apic`, and turns it on.
    ///
    /// # Errors
    /// The function has no MSI, or does not keep what is written.
    pub fn route_msi(&self, function: &Function, apic: u8, vector: u8) -> Result<(), Fault> {
        let found = function.msi.as_ref().ok_or(Fault::Unknown)?;
        self.silence_msi(function);
        let registers = Registers::new(&self.config, function.bdf);
        let message = self.message(function, 0, apic, vector)?;
        // With one vector the device changes no bit of what it writes, and MSI has 16 bits of them.
        let low = u16::try_from(message.data).map_err(|_| Fault::Rejected)?;
        let data = found.offset + found.data();
        registers.set_u32(found.offset + msi::ADDRESS, message.address);
        if found.address_64 {
            registers.set_u32(found.offset + msi::ADDRESS_UPPER, 0);
        }
        registers.set_u16(data, low);
        if let Some(mask) = found.mask() {
            registers.set_u32(found.offset + mask, !1);
        }
        // One vector: the field for more is zero.
        registers.set_u16(found.offset + msi::CONTROL, msi::ENABLE);
        let control = registers.u16(found.offset + msi::CONTROL);
        let kept =
            registers.u32(found.offset + msi::ADDRESS) == message.address && registers.u16(data) == low;
        // What is gone reads as all ones.
        if control == u16::MAX {
            Err(Fault::Gone)
        } else if !kept || control & msi::ENABLE == 0 {
            self.silence_msi(function);
            Err(Fault::Rejected)
        } else {
            Ok(())
        }
    }

    /// Masks MSI of the function. One that cannot be masked is turned off, and loses what it has to say meanwhile.
    ///
    /// # Errors
    /// The function has no MSI.
    pub fn unroute_msi(&self, function: &Function) -> Result<(), Fault> {
        let found = function.msi.as_ref().ok_or(Fault::Unknown)?;
        match found.mask() {
            Some(mask) => Registers::new(&self.config, function.bdf).set_u32(found.offset + mask, u32::MAX),
            None => self.silence_msi(function),
        }
        Ok(())
    }

    /// Turns MSI-X off.
    pub fn silence_msix(&self, function: &Function) {
        if let Some(found) = &function.msix {
            let registers = Registers::new(&self.config, function.bdf);
            let control = registers.u16(found.offset + msix::CONTROL);
            registers.set_u16(found.offset + msix::CONTROL, control & !msix::ENABLE);
        }
    }

    /// Has MSI-X on, with every entry masked where it was not.
    ///
    /// # Errors
    /// The function has no MSI-X, or does not obey.
    pub fn start_msix(&self, function: &Function) -> Result<(), Fault> {
        let found = function.msix.as_ref().ok_or(Fault::Unknown)?;
        let control = Registers::new(&self.config, function.bdf).u16(found.offset + msix::CONTROL);
        if control != u16::MAX && control & (msix::ENABLE | msix::FUNCTION_MASK) == msix::ENABLE {
            return Ok(());
        }
        self.prepare_msix(function)
    }

    /// Turns MSI-X on with every entry masked.
    pub(super) fn prepare_msix(&self, function: &Function) -> Result<(), Fault> {
        let Some(found) = &function.msix else {
            return Ok(());
        };
        let registers = Registers::new(&self.config, function.bdf);
        let control = registers.u16(found.offset + msix::CONTROL);
        let masked = control | msix::ENABLE | msix::FUNCTION_MASK;
        registers.set_u16(found.offset + msix::CONTROL, masked);
        for entry in 0..found.vectors {
            self.write_entry(function, entry, None)?;
        }
        registers.set_u16(found.offset + msix::CONTROL, masked & !msix::FUNCTION_MASK);
        let now = registers.u16(found.offset + msix::CONTROL);
        // What is gone reads as all ones, in the table too, where that looks masked.
        if now == u16::MAX {
            Err(Fault::Gone)
        } else if now & msix::ENABLE == 0 {
            Err(Fault::Rejected)
        } else {
            Ok(())
        }
    }

    /// Has entry `entry` of the function raise `vector` at the local APIC `apic`.
    ///
    /// # Errors
    /// The function has no such entry, or does not keep what is written.
    pub fn route(&self, function: &Function, entry: u16, apic: u8, vector: u8) -> Result<(), Fault> {
        if function.msix.as_ref().is_none_or(|found| entry >= found.vectors) {
            return Err(Fault::Unknown);
        }
        let message = self.message(function, entry, apic, vector)?;
        self.write_entry(function, entry, Some(message))
    }

    /// Masks entry `entry` of the function.
    ///
    /// # Errors
    /// The function has no such entry, or does not keep what is written.
    pub fn unroute(&self, function: &Function, entry: u16) -> Result<(), Fault> {
        self.write_entry(function, entry, None)
    }

    /// Bits of the pending array: 32 entries from `32 * word` on.
    ///
    /// # Errors
    /// The function has no such word.
    pub fn pending(&self, function: &Function, word: u16) -> Result<u32, Fault> {
        let found = function.msix.as_ref().ok_or(Fault::Unknown)?;
        let offset = u32::from(word) * 4;
        if offset + 4 > found.pending.length.next_multiple_of(4) {
            return Err(Fault::Unknown);
        }
        let bar = function
            .bar(found.pending.bar)
            .filter(|bar| bar.address != 0)
            .ok_or(Fault::BadAddress)?;
        let address = bar.address + u64::from(found.pending.offset) + u64::from(offset);
        Ok(self.with_decode(function, |mmio| mmio.read32(address)))
    }

    fn write_entry(&self, function: &Function, entry: u16, message: Option<Message>) -> Result<(), Fault> {
        let found = function
            .msix
            .as_ref()
            .filter(|found| entry < found.vectors)
            .ok_or(Fault::Unknown)?;
        let bar = function
            .bar(found.table.bar)
            .filter(|bar| bar.address != 0)
            .ok_or(Fault::BadAddress)?;
        let at = bar.address + u64::from(found.table.offset) + u64::from(entry) * u64::from(msix::ENTRY);
        let control = at + msix::ENTRY_CONTROL;
        let written = self.with_decode(function, |mmio| {
            mmio.write32(control, msix::ENTRY_MASKED);
            if let Some(message) = message {
                mmio.write32(at + msix::ENTRY_ADDRESS_LOW, message.address);
                mmio.write32(at + msix::ENTRY_ADDRESS_HIGH, 0);
                mmio.write32(at + msix::ENTRY_DATA, message.data);
                mmio.write32(control, 0);
            }
            mmio.read32(control) & msix::ENTRY_MASKED
        });
        let wanted = if message.is_some() { 0 } else { msix::ENTRY_MASKED };
        if written == wanted {
            Ok(())
        } else {
            Err(Fault::Rejected)
        }
    }

    /// Works on the function's registers, which answer meanwhile even where the guest has turned them off.
    fn with_decode<R>(&self, function: &Function, work: impl FnOnce(&mut M) -> R) -> R {
        let registers = Registers::new(&self.config, function.bdf);
        let before = registers.command();
        pci::set_memory_decode(&self.config, function.bdf, true);
        let result = work(&mut self.mmio.lock());
        registers.set_command(before);
        result
    }
}
