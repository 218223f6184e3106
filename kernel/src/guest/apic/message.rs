//! Messages between a guest's local APICs, and whom they reach (Intel SDM volume 3, sections 12.6.2 and 12.12.10).

use super::MAX_CPUS;

/// What a message does where it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// [`LocalApic::accept`](super::LocalApic::accept) this vector.
    Fixed(u8),
    /// The same, but at one of those that the message names.
    Lowest(u8),
    /// Raise NMI.
    Nmi,
    /// Reset and wait for start-up.
    Init,
    /// Start in real mode at this page number, if waiting for it.
    StartUp(u8),
}

/// Whom a message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The sender.
    Sender,
    /// All but the sender.
    Others,
    /// All.
    All,
    /// The APIC with this id.
    Physical(u32),
    /// Those whose logical id it meets.
    Logical(u32),
}

/// A message on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// To whom.
    pub destination: Destination,
    /// What for.
    pub delivery: Delivery,
}

/// The state of a local APIC, by IA32_APIC_BASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// It takes no messages.
    Disabled,
    /// Registers in memory.
    XApic,
    /// Registers are model-specific ones.
    X2Apic,
}

/// What others need to know of a local APIC to address it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its mode.
    pub mode: Mode,
    /// Enabled by software: it takes vectors.
    pub enabled: bool,
    /// The logical id is a cluster and four bits; otherwise eight bits. In xAPIC mode.
    pub cluster: bool,
    /// Logical id in xAPIC mode.
    pub logical: u8,
}

impl Address {
    /// As one word, for an atomic.
    pub(super) const fn into_bits(self) -> u32 {
        self.mode as u32
            | (self.enabled as u32) << 2
            | (self.cluster as u32) << 3
            | (self.logical as u32) << 8
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self {
            mode: match bits & 3 {
                0 => Mode::Disabled,
                1 => Mode::XApic,
                _ => Mode::X2Apic,
            },
            enabled: bits & 4 != 0,
            cluster: bits & 8 != 0,
            logical: (bits >> 8) as u8,
        }
    }

    /// Whether the logical destination `to` means the APIC `id` with this address.
    fn meets(self, id: u8, to: u32) -> bool {
        match self.mode {
            Mode::Disabled => false,
            Mode::X2Apic => {
                let own = x2apic_logical(id);
                own >> 16 == to >> 16 && own & to & 0xffff != 0
            }
            Mode::XApic => {
                let Ok(to) = u8::try_from(to) else { return false };
                if self.cluster {
                    (to >> 4 == 0xf || to >> 4 == self.logical >> 4) && to & self.logical & 0xf != 0
                } else {
                    to & self.logical != 0
                }
            }
        }
    }
}

/// The logical id that x2APIC mode derives from the id: a cluster of sixteen, and a bit.
pub(super) const fn x2apic_logical(id: u8) -> u32 {
    (id as u32 >> 4) << 16 | 1 << (id & 15)
}

/// Those among `cpus` whom `destination` names, a bit each, by the `address` of each. `sender` is none where a device sends.
pub(super) fn targets(
    cpus: u8,
    sender: Option<u8>,
    destination: Destination,
    address: impl Fn(u8) -> Address,
) -> u64 {
    let mut found = 0;
    for id in 0..cpus.min(MAX_CPUS) {
        let named = match destination {
            Destination::Sender => Some(id) == sender,
            Destination::Others => Some(id) != sender,
            Destination::All => true,
            Destination::Physical(to) => u32::from(id) == to,
            Destination::Logical(to) => address(id).meets(id, to),
        };
        if named && address(id).mode != Mode::Disabled {
            found |= 1 << id;
        }
    }
    found
}
