//! Access Control Services: what a port or function does to keep peers from reaching one another past the IOMMU.

use core::fmt;

bitflags::bitflags! {
    /// The ACS bits, as in the capability and control registers (PCI Express Base Specification 6.0, section 7.7.11).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Acs: u16 {
        /// Source validation: nobody below forges a requester id.
        const SOURCE_VALIDATION = 1 << 0;
        /// Translation blocking.
        const TRANSLATION_BLOCKING = 1 << 1;
        /// Peer-to-peer request redirection: requests between peers go up, through the IOMMU.
        const REQUEST_REDIRECTION = 1 << 2;
        /// Peer-to-peer completion redirection.
        const COMPLETION_REDIRECTION = 1 << 3;
        /// Upstream forwarding: a request from below never turns around in the port.
        const UPSTREAM_FORWARDING = 1 << 4;
        /// Peer-to-peer egress control.
        const EGRESS_CONTROL = 1 << 5;
        /// Direct translated peer-to-peer.
        const DIRECT_TRANSLATED = 1 << 6;
    }
}

impl Acs {
    /// What a port must do for the devices below it to be kept apart from the rest.
    pub const PORT: Self = Self::SOURCE_VALIDATION
        .union(Self::REQUEST_REDIRECTION)
        .union(Self::COMPLETION_REDIRECTION)
        .union(Self::UPSTREAM_FORWARDING);

    /// What the functions of one device must do to be kept apart from one another; source validation and
    /// upstream forwarding exist in ports only (section 6.12.1.2).
    pub const FUNCTION: Self = Self::REQUEST_REDIRECTION.union(Self::COMPLETION_REDIRECTION);
}

impl fmt::Display for Acs {
    /// Names in words, joined by commas: "source validation, request redirection".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Acs, &str); 7] = [
            (Acs::SOURCE_VALIDATION, "source validation"),
            (Acs::TRANSLATION_BLOCKING, "translation blocking"),
            (Acs::REQUEST_REDIRECTION, "request redirection"),
            (Acs::COMPLETION_REDIRECTION, "completion redirection"),
            (Acs::UPSTREAM_FORWARDING, "upstream forwarding"),
            (Acs::EGRESS_CONTROL, "egress control"),
            (Acs::DIRECT_TRANSLATED, "direct translated peer-to-peer"),
        ];
        let mut separator = "";
        for (_, name) in NAMES.iter().filter(|(bit, _)| self.contains(*bit)) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// An ACS capability as it stands when devices are assigned: what it can do and what is turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcsCapability {
    /// The capability register: what the function implements.
    pub able: Acs,
    /// The control register: what is in force. Discovery turns on what it can before it reports this.
    pub enabled: Acs,
}

impl AcsCapability {
    /// A capability that has all of `bits` and has them turned on.
    #[must_use]
    pub const fn enabled(bits: Acs) -> Self {
        Self {
            able: bits,
            enabled: bits,
        }
    }
}
