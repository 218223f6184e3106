//! What a write to configuration space asks for beyond configuration space, and why an access was not made.

use crate::pci::device::PowerState;
use crate::pci::irq::MsiRegisters;
use arrayvec::ArrayVec;

/// What a write asks for. Whoever runs the guest carries it out, in the order of the list, before the guest goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Which accesses the function answers, as its guest sees it. Where memory went off, mappings of its BARs must be gone
    /// ([`VirtualConfig::turns_memory_off`](super::VirtualConfig::turns_memory_off) tells before the write).
    Decode {
        /// Memory BARs and the ROM.
        memory: bool,
        /// I/O BARs.
        io: bool,
    },
    /// The function may, or may no longer, access memory. The hardware has been told.
    BusMaster(bool),
    /// The guest holds INTx back, or no longer: for [`Irqs::line_disabled`](crate::pci::irq::Irqs::line_disabled).
    LineDisabled(bool),
    /// A BAR answers elsewhere from now on.
    BarMoved {
        /// 0 to 5, or [`ROM`](super::ROM).
        bar: u8,
        /// Bus address in the guest. `None`: nowhere, since decoding is off, or since the guest put it where no window is.
        to: Option<u64>,
    },
    /// Go to this power state, then call [`VirtualConfig::set_power_state`](super::VirtualConfig::set_power_state). Mappings must
    /// be gone in any but [`PowerState::D0`].
    Power(PowerState),
    /// Reset the function alone, then call [`VirtualConfig::reset`](super::VirtualConfig::reset).
    Reset,
    /// MSI is now programmed so.
    Msi(MsiRegisters),
    /// MSI-X is now so.
    Msix {
        /// Enabled.
        enabled: bool,
        /// All vectors masked.
        masked: bool,
    },
    /// Access vital product data, then call [`VirtualConfig::vpd_done`](super::VirtualConfig::vpd_done).
    Vpd(VpdAccess),
    /// The hardware had lost its BARs, as after a reset that nobody announced. They are restored.
    Restored,
    /// The hardware does not answer any more: all of it reads as ones.
    Gone,
}

/// The effects of one write; a write touches one register, so there are few.
pub type Effects = ArrayVec<Effect, 12>;

/// An access to vital product data, four bytes at a multiple of four (PCI Express 7.9.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpdAccess {
    /// Where, 0 to 0x7ffc.
    pub address: u16,
    /// What to write; `None` reads. Writing lasts: it changes the device for its next owner as well, so whoever carries it out
    /// should have a reason.
    pub write: Option<u32>,
}

/// Why an access to configuration space was not made. It is the guest's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It leaves the space.
    #[error("an access at {offset:#x} leaves the configuration space of {size:#x} bytes")]
    Outside {
        /// Where it starts.
        offset: u64,
        /// Bytes of the space.
        size: u16,
    },
    /// It is not at a multiple of its width.
    #[error("an access of {width} bytes at {offset:#x} is not aligned; make it in aligned pieces")]
    Unaligned {
        /// Where it starts.
        offset: u16,
        /// Bytes.
        width: u16,
    },
}
