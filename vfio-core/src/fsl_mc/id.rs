//! Names of objects, as the Management Complex writes them: `dpni.3`, `dprc.1`.

use core::fmt;

/// What an object is. Types that are not here are not known, and their objects are not assignable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectType {
    /// A network interface.
    Dpni,
    /// A switch.
    Dpsw,
    /// A QBMan portal.
    Dpio,
    /// A buffer pool.
    Dpbp,
    /// A container.
    Dprc,
    /// A demultiplexer.
    Dpdmux,
    /// A core-to-core interface.
    Dpci,
    /// A concentrator.
    Dpcon,
    /// A crypto interface.
    Dpseci,
    /// A packet processor.
    Dpaiop,
    /// A command portal.
    Dpmcp,
    /// A MAC and PHY.
    Dpmac,
    /// A compression interface.
    Dpdcei,
    /// A DMA engine.
    Dpdmai,
    /// A debug object.
    Dpdbg,
    /// A PTP clock.
    Dprtc,
}

impl ObjectType {
    /// All types, in the order of their open commands.
    pub const ALL: [Self; 16] = [
        Self::Dpni,
        Self::Dpsw,
        Self::Dpio,
        Self::Dpbp,
        Self::Dprc,
        Self::Dpdmux,
        Self::Dpci,
        Self::Dpcon,
        Self::Dpseci,
        Self::Dpaiop,
        Self::Dpmcp,
        Self::Dpmac,
        Self::Dpdcei,
        Self::Dpdmai,
        Self::Dpdbg,
        Self::Dprtc,
    ];

    /// The name, at most 15 bytes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dpni => "dpni",
            Self::Dpsw => "dpsw",
            Self::Dpio => "dpio",
            Self::Dpbp => "dpbp",
            Self::Dprc => "dprc",
            Self::Dpdmux => "dpdmux",
            Self::Dpci => "dpci",
            Self::Dpcon => "dpcon",
            Self::Dpseci => "dpseci",
            Self::Dpaiop => "dpaiop",
            Self::Dpmcp => "dpmcp",
            Self::Dpmac => "dpmac",
            Self::Dpdcei => "dpdcei",
            Self::Dpdmai => "dpdmai",
            Self::Dpdbg => "dpdbg",
            Self::Dprtc => "dprtc",
        }
    }

    /// The type with this name, if it is one of these.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object of a Management Complex: unique by type and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// What it is.
    pub kind: ObjectType,
    /// Its number among those of its type.
    pub number: u32,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.number)
    }
}
