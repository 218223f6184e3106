//! Taking a unit over, on or off: first it denies everything, then it is asked for anything.

use super::commands::{Command, Commands, MOST};
use super::device_table::{DeviceTable, Entry};
use super::log::{EventLog, runs};
use super::{AmdVi, Firmware, Hardware, InitError, QUARANTINE};
use crate::pci::{ConfigAccess, Registers};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use spec::amdvi::capability::{self, Header};
use spec::amdvi::registers::{self as register, Control, Features, Status};

/// What a unit's PCI capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(Header);

impl Capability {
    /// Reads the capability that firmware names. One whose registers are not turned on yet has them turned on where firmware's
    /// table says that they are.
    ///
    /// # Errors
    /// It is none of an IOMMU, or says that the registers are elsewhere.
    pub fn read(config: &impl ConfigAccess, firmware: &Firmware) -> Result<Self, InitError> {
        let (function, offset) = (firmware.function(), firmware.capability());
        let registers = Registers::new(config, function);
        let plausible = offset.is_multiple_of(4) && (0x40..=0xec).contains(&offset);
        let header = if plausible {
            registers.u32(offset + capability::HEADER)
        } else {
            u32::MAX
        };
        let kind = header >> capability::TYPE_SHIFT & capability::TYPE_MASK;
        if header & 0xff != u32::from(capability::ID) || kind != capability::TYPE_IOMMU {
            return Err(InitError::NoCapability {
                function,
                offset,
                header,
            });
        }
        let (low, high) = (offset + capability::BASE_LOW, offset + capability::BASE_HIGH);
        let found = registers.u32(low);
        if found & capability::BASE_ENABLE == 0 {
            registers.set_u32(high, (firmware.base() >> 32) as u32);
            registers.set_u32(low, firmware.base() as u32 | capability::BASE_ENABLE);
        } else {
            let base = u64::from(registers.u32(high)) << 32 | u64::from(found & capability::BASE_LOW_ADDRESS);
            if base != firmware.base() {
                return Err(InitError::Base {
                    function,
                    table: firmware.base(),
                    capability: base,
                });
            }
        }
        Ok(Self(Header::from_bits_retain(header)))
    }

    /// From the header's bits, for tests.
    #[cfg(test)]
    pub(super) const fn of(header: Header) -> Self {
        Self(header)
    }
}

/// Bits of the control register that must be as they were written. Others are about links that a unit need not have.
const ESSENTIAL: Control = Control::ENABLE
    .union(Control::EVENT_LOG)
    .union(Control::COMMAND_BUFFER)
    .union(Control::PAGE_REQUESTS)
    .union(Control::GUEST_TRANSLATION)
    .union(Control::GUEST_APIC)
    .union(Control::TABLE_SEGMENTS)
    .union(Control::ADDRESS_ROUTING)
    .union(Control::X2APIC);

/// Writes a register of which the bits `essential` must read as written.
fn set<H: Hardware>(
    hardware: &mut H,
    firmware: &Firmware,
    register: u16,
    written: u64,
    essential: u64,
) -> Result<(), InitError> {
    hardware.write(register, written);
    let found = hardware.read(register);
    if (found ^ written) & essential == 0 {
        Ok(())
    } else {
        Err(InitError::Register {
            function: firmware.function(),
            register,
            written,
            found,
        })
    }
}

impl<H: Hardware> AmdVi<H> {
    /// Takes the unit over. Every requester is in quarantine when this is `Ok`, and in what may be on its way no bus master has a part:
    /// that is the caller's to see to. `last_bus` is the last bus that there is.
    ///
    /// A unit that firmware left on stays on meanwhile, so that nothing passes untranslated at any time.
    ///
    /// # Errors
    /// [`InitError`]. The unit may deny everything, or nothing.
    pub fn init(
        mut hardware: H,
        firmware: Firmware,
        capability: Capability,
        last_bus: u8,
    ) -> Result<Self, InitError> {
        let function = firmware.function();
        let before = hardware.read(register::CONTROL);
        let features = if capability.0.contains(Header::EXTENDED_FEATURES) {
            hardware.read(register::EXTENDED_FEATURES)
        } else {
            0
        };
        if before == u64::MAX || features == u64::MAX {
            return Err(InitError::NoAnswer(function));
        }
        // Units have 4 levels at least, which is all that a guest's 48 bits need; 3 says that there are no such tables at all.
        if features >> register::LEVELS_SHIFT & register::LEVELS_MASK == register::LEVELS_MASK {
            return Err(InitError::Levels { function, features });
        }
        let mut unit = Self::allocate(hardware, firmware, last_bus).ok_or(InitError::NoMemory(function))?;
        unit.caches_not_present = capability.0.contains(Header::CACHES_NOT_PRESENT);
        unit.take_over(Control::from_bits_retain(before))?;
        let features = Features::from_bits_retain(features);
        unit.forget_everything(features.contains(Features::INVALIDATE_ALL))?;
        Ok(unit)
    }

    /// The tables, in memory; the unit does not know of them.
    fn allocate(mut hardware: H, firmware: Firmware, last_bus: u8) -> Option<Self> {
        let levels = register::LEVELS_LEAST;
        let empty = hardware.allocate(4096)?;
        let table = DeviceTable::new(&mut hardware, firmware.last_id(last_bus), |id| {
            Entry::quarantine(empty, levels, QUARANTINE, firmware.settings(id))
        });
        let commands = Commands::new(&mut hardware);
        let log = EventLog::new(&mut hardware);
        match (table, commands, log) {
            (Some(table), Some(commands), Some(log)) => Some(Self {
                hardware,
                firmware,
                table,
                commands,
                log,
                empty,
                levels,
                caches_not_present: true,
                parts: BTreeMap::new(),
                places: BTreeMap::new(),
                interrupts: BTreeMap::new(),
                last_number: QUARANTINE,
                broken: None,
                pending: Vec::new(),
            }),
            (table, commands, log) => {
                hardware.free(empty, 4096);
                if let Some(table) = table {
                    table.free(&mut hardware);
                }
                if let Some(commands) = commands {
                    commands.free(&mut hardware);
                }
                if let Some(log) = log {
                    log.free(&mut hardware);
                }
                None
            }
        }
    }

    /// Gives the unit its tables. Of what it was told before, only "on" stays, until it is on by what it is told now.
    fn take_over(&mut self, before: Control) -> Result<(), InitError> {
        let Self {
            hardware,
            firmware,
            table,
            commands,
            log,
            ..
        } = self;
        const ALL: u64 = u64::MAX;
        let function = firmware.function();
        let state = |what| InitError::State { function, what };
        let link = firmware.control() | Control::COHERENT;
        hardware.write(
            register::CONTROL,
            (link | before.intersection(Control::ENABLE)).bits(),
        );
        runs(hardware, Status::COMMAND_BUFFER_RUNS, false).ok_or(state("stop its command buffer"))?;
        runs(hardware, Status::EVENT_LOG_RUNS, false).ok_or(state("stop its event log"))?;
        // No exclusion range: what firmware wanted to pass does not pass.
        set(hardware, firmware, register::EXCLUSION_BASE, 0, ALL)?;
        set(hardware, firmware, register::EXCLUSION_LIMIT, 0, ALL)?;
        set(
            hardware,
            firmware,
            register::DEVICE_TABLE_BASE,
            table.register(),
            ALL,
        )?;
        set(
            hardware,
            firmware,
            register::COMMAND_BASE,
            commands.register(),
            ALL,
        )?;
        set(hardware, firmware, register::EVENT_BASE, log.register(), ALL)?;
        for pointer in [
            register::COMMAND_HEAD,
            register::COMMAND_TAIL,
            register::EVENT_HEAD,
            register::EVENT_TAIL,
        ] {
            set(hardware, firmware, pointer, 0, ALL)?;
        }
        let stale = Status::EVENT_OVERFLOW | Status::EVENT_INTERRUPT | Status::COMPLETION_INTERRUPT;
        hardware.write(register::STATUS, stale.bits());
        let control = link
            | Control::ENABLE
            | Control::EVENT_LOG
            | Control::COMMAND_BUFFER
            | Control::INVALIDATION_TIMEOUT_1_S;
        set(
            hardware,
            firmware,
            register::CONTROL,
            control.bits(),
            ESSENTIAL.bits(),
        )?;
        runs(hardware, Status::COMMAND_BUFFER_RUNS, true).ok_or(state("start its command buffer"))?;
        runs(hardware, Status::EVENT_LOG_RUNS, true).ok_or(state("start its event log"))
    }

    /// Has the unit forget what it remembers from before.
    fn forget_everything(&mut self, at_once: bool) -> Result<(), InitError> {
        let function = self.firmware.function();
        let failed = |unit: &Self| {
            unit.broken
                .map_or(InitError::NoAnswer(function), |cause| InitError::Commands {
                    function,
                    cause,
                })
        };
        if at_once {
            return self.run(&[Command::All]).map_err(|_| failed(self));
        }
        let ids = (0..self.table.entries()).filter_map(|id| u16::try_from(id).ok());
        let entries = ids.flat_map(|id| [Command::DeviceEntry(id), Command::InterruptTable(id)]);
        // Whatever numbers it has tagged things with.
        let mut all = entries.chain((0..=u16::MAX).map(Command::domain));
        loop {
            let some: Vec<Command> = all.by_ref().take(MOST).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.run(&some).map_err(|_| failed(self))?;
        }
    }
}
