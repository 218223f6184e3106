//! What IVRS says of one unit: whose accesses come to it, under which id, and what firmware claims for itself.
//!
//! Three claims make a requester one that can be given to nobody. Memory that it must reach (IVMD) would be a hole in a guest's
//! memory, and firmware would go on using the device behind the guest's back. Messages that it must pass, such as INIT or NMI, would
//! be an attack in a guest's hands. An alias that PCI does not explain joins devices in a way that the isolation groups do not know.

use crate::acpi::{IvhdTarget, Ivrs, IvrsMemory, IvrsUnit};
use alloc::vec::Vec;
use spec::amdvi::registers::Control;
use spec::ivrs::{IvhdFlags, Settings};
use vfio_core::pci::Bdf;

/// Requesters that IVHD gives the unit.
#[derive(Clone, Copy, Debug)]
struct Claim {
    first: u16,
    last: u16,
    alias: Option<u16>,
    settings: Settings,
    /// It only says which id an I/O APIC or HPET uses.
    special: bool,
}

/// Why firmware keeps a requester from being given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// IVMD: it must reach this memory, first and last byte.
    Memory {
        /// First.
        first: u64,
        /// Last.
        last: u64,
    },
    /// IVHD: messages of it must pass that are interrupts to the system.
    Messages,
    /// IVHD: the unit sees another id.
    Alias(u16),
}

/// What firmware says of one unit.
#[derive(Clone, Debug)]
pub struct Firmware {
    function: Bdf,
    capability: u16,
    base: u64,
    flags: IvhdFlags,
    claims: Vec<Claim>,
    memory: Vec<IvrsMemory>,
}

impl Firmware {
    /// What `ivrs` says of `unit`, which is one of its.
    #[must_use]
    pub fn new(ivrs: &Ivrs, unit: &IvrsUnit) -> Self {
        let segment = unit.function.segment();
        let claims = unit.entries.iter().map(|entry| {
            let settings = Settings::from_bits_retain(entry.settings);
            let claim = |first, last, alias, special| Claim {
                first,
                last,
                alias,
                settings,
                special,
            };
            match entry.target {
                IvhdTarget::All => claim(0, u16::MAX, None, false),
                IvhdTarget::Range {
                    first, last, alias, ..
                } => claim(first, last, alias, false),
                IvhdTarget::IoApic { requester, .. }
                | IvhdTarget::Hpet { requester, .. }
                | IvhdTarget::OtherSpecial { requester, .. }
                | IvhdTarget::Acpi { requester, .. } => claim(requester, requester, None, true),
            }
        });
        let memory = ivrs.memory.iter().filter(|memory| memory.segment == segment);
        Self {
            function: unit.function,
            capability: unit.capability,
            base: unit.base,
            flags: IvhdFlags::from_bits_retain(unit.flags),
            claims: claims.collect(),
            memory: memory.copied().collect(),
        }
    }

    /// The unit's own function.
    #[must_use]
    pub const fn function(&self) -> Bdf {
        self.function
    }

    /// Offset of its PCI capability.
    #[must_use]
    pub const fn capability(&self) -> u16 {
        self.capability
    }

    /// Host physical address of its registers.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Whether accesses of `requester` come to this unit.
    #[must_use]
    pub fn covers(&self, requester: Bdf) -> bool {
        requester.segment() == self.function.segment()
            && self.of(requester.requester_id()).any(|claim| !claim.special)
    }

    /// Messages that `id` must pass: what all entries about it say together.
    #[must_use]
    pub fn settings(&self, id: u16) -> Settings {
        self.of(id)
            .fold(Settings::empty(), |all, claim| all | claim.settings)
    }

    /// Why `requester` can be given to nobody, if so. `known` are the ids that PCI's rules say its accesses may carry.
    #[must_use]
    pub fn claimed(&self, requester: Bdf, known: &[Bdf]) -> Option<Claimed> {
        let id = requester.requester_id();
        let meant = |memory: &&IvrsMemory| (memory.requesters.0..=memory.requesters.1).contains(&id);
        if let Some(memory) = self.memory.iter().find(meant) {
            return Some(Claimed::Memory {
                first: memory.first,
                last: memory.last,
            });
        }
        if !self.settings(id).is_empty() {
            return Some(Claimed::Messages);
        }
        // A later entry overrides an earlier one.
        let alias = self.of(id).filter(|claim| !claim.special).last()?.alias?;
        let explained = alias == id || known.iter().any(|other| other.requester_id() == alias);
        (!explained).then_some(Claimed::Alias(alias))
    }

    /// The last requester id that the unit needs an entry for: of those that it was given, the last on a bus up to `last_bus`, and
    /// every one that is named by itself.
    #[must_use]
    pub fn last_id(&self, last_bus: u8) -> u16 {
        let end = u16::from(last_bus) << 8 | 0xff;
        // A range that goes on past the last bus is about ids that nobody has.
        let needed = self
            .claims
            .iter()
            .filter(|claim| claim.last <= end || claim.first == claim.last);
        let needed = needed.flat_map(|claim| [claim.last, claim.alias.unwrap_or(0)]);
        needed.max().unwrap_or(0).max(end)
    }

    /// What the control register must say of the link that the unit is on (section 5.2, IVHD flags).
    pub(super) fn control(&self) -> Control {
        let mut control = Control::empty();
        control.set(Control::HT_TUNNEL, self.flags.contains(IvhdFlags::HT_TUNNEL));
        control.set(Control::PASS_POSTED, self.flags.contains(IvhdFlags::PASS_POSTED));
        control.set(
            Control::RESPONSE_PASS_POSTED,
            self.flags.contains(IvhdFlags::RESPONSE_PASS_POSTED),
        );
        control.set(Control::ISOCHRONOUS, self.flags.contains(IvhdFlags::ISOCHRONOUS));
        control
    }

    fn of(&self, id: u16) -> impl Iterator<Item = &Claim> {
        self.claims
            .iter()
            .filter(move |claim| (claim.first..=claim.last).contains(&id))
    }
}
