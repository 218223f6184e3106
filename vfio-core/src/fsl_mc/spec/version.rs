//! Versions of objects and of their commands, and what each version can do.

use core::fmt;

use crate::fsl_mc::ObjectType;

/// A version of an object's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Differs where commands are not compatible.
    pub major: u16,
    /// Grows with each addition.
    pub minor: u16,
}

impl ApiVersion {
    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The oldest version of an object that can be worked with; `None` where any will do.
#[must_use]
pub const fn minimum(kind: ObjectType) -> Option<ApiVersion> {
    Some(match kind {
        ObjectType::Dpni => ApiVersion::new(7, 0),
        ObjectType::Dpio => ApiVersion::new(4, 2),
        ObjectType::Dpbp | ObjectType::Dpcon => ApiVersion::new(3, 2),
        ObjectType::Dprc => ApiVersion::new(6, 0),
        ObjectType::Dpmcp | ObjectType::Dpdmai => ApiVersion::new(3, 0),
        ObjectType::Dpdbg => ApiVersion::new(1, 0),
        _ => return None,
    })
}

/// Whether an object's DMA is coherent with the caches, apart from what its flags say.
#[must_use]
pub fn dma_coherent(kind: ObjectType, version: ApiVersion) -> bool {
    kind != ObjectType::Dpseci || version >= ApiVersion::new(4, 0)
}

/// The version of the command that gets a region, by the version of the containers' interface.
#[must_use]
pub fn region_version(dprc: ApiVersion) -> u8 {
    if dprc >= ApiVersion::new(6, 6) {
        3
    } else if dprc >= ApiVersion::new(6, 3) {
        2
    } else {
        1
    }
}

/// The version of the command that resets a container: the second one has options, the first always goes into
/// the containers inside.
#[must_use]
pub fn reset_version(dprc: ApiVersion) -> u8 {
    if dprc >= ApiVersion::new(6, 5) { 2 } else { 1 }
}
