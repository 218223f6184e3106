//! Where regions of objects lie. What the firmware says of addresses is not believed: each must lie in a window that the
//! platform named.

use alloc::vec::Vec;

use super::tree::ObjectProblem;
use crate::addr::HostPhys;
use crate::clock::Clock;
use crate::fsl_mc::portal::{PortalError, PortalRegisters, Session};
use crate::fsl_mc::spec::dprc::{GetObjRegion, ObjRegion, RegionAttributes};
use crate::fsl_mc::spec::{ApiVersion, COMMAND_WINDOW, region_version};
use crate::fsl_mc::{ObjectId, ObjectType};

/// More regions than any object has.
const MAX_REGIONS: u8 = 8;

/// What a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// A command portal of the Management Complex.
    Command,
    /// A portal of the queue manager.
    Queue,
}

impl RegionKind {
    /// What the regions of a type are; `None` if the type has none.
    #[must_use]
    pub const fn of(kind: ObjectType) -> Option<Self> {
        match kind {
            ObjectType::Dprc | ObjectType::Dpmcp => Some(Self::Command),
            ObjectType::Dpio => Some(Self::Queue),
            _ => None,
        }
    }
}

/// Where portals of a kind are in the host, from the firmware's description of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Of what kind.
    pub kind: RegionKind,
    /// The Management Complex's own address of its start, for firmware that gives offsets only.
    pub offset: u64,
    /// The host's address of its start.
    pub address: HostPhys,
    /// Bytes.
    pub size: u64,
}

/// A region of an object, checked: it lies in a window of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRegion {
    /// What it is.
    pub kind: RegionKind,
    /// Where it is.
    pub address: HostPhys,
    /// Bytes, at least 64 for a command portal and 1 for any other.
    pub size: u64,
    /// How it may be mapped.
    pub attributes: RegionAttributes,
}

/// Why a region makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RegionProblem {
    /// The complex does not say where it is.
    #[error("it cannot be read: {0}")]
    Unreadable(PortalError),
    /// Empty, or too small for a frame.
    #[error("it has {0} bytes")]
    TooSmall(u64),
    /// Not within a window.
    #[error("{address:#x} with {size:#x} bytes is not where such portals are")]
    Outside {
        /// Where it starts, or its offset, as the complex gives it.
        address: u64,
        /// Bytes.
        size: u64,
    },
}

/// Where a region is, from what the complex answered to version `version` of the command.
///
/// # Errors
/// [`RegionProblem`].
pub fn place(
    kind: RegionKind,
    answer: &ObjRegion,
    version: u8,
    windows: &[Window],
) -> Result<ObjectRegion, RegionProblem> {
    let size = u64::from(answer.size);
    let least = match kind {
        RegionKind::Command => COMMAND_WINDOW,
        RegionKind::Queue => 1,
    };
    if size < least {
        return Err(RegionProblem::TooSmall(size));
    }
    // Firmware that knows the base gives it from version 2 on; some answers 0 for it there as well.
    let base = Some(answer.base).filter(|base| version >= 2 && *base != 0);
    let outside = RegionProblem::Outside {
        address: base.unwrap_or(0).saturating_add(answer.offset),
        size,
    };
    let address = windows
        .iter()
        .filter(|window| window.kind == kind)
        .find_map(|window| {
            let into = match base {
                Some(base) => base.checked_add(answer.offset)?.checked_sub(window.address.0)?,
                None => answer.offset.checked_sub(window.offset)?,
            };
            let inside = into.checked_add(size)? <= window.size;
            window.address.checked_add(into).filter(|_| inside)
        })
        .filter(|address| address.checked_add(size).is_some())
        .ok_or(outside)?;
    Ok(ObjectRegion {
        kind,
        address,
        size,
        attributes: answer.attributes,
    })
}

/// Reads and checks the regions of an object of the container that is open.
///
/// # Errors
/// The outer one is of the portal, which is then out of use; the inner one says why nobody can have the object.
pub(super) fn regions<R: PortalRegisters, C: Clock>(
    session: &mut Session<'_, R, C>,
    object: ObjectId,
    count: u8,
    api: ApiVersion,
    windows: &[Window],
) -> Result<Result<Vec<ObjectRegion>, ObjectProblem>, PortalError> {
    let kind = match RegionKind::of(object.kind) {
        Some(kind) if count <= MAX_REGIONS => kind,
        None if count == 0 => return Ok(Ok(Vec::new())),
        _ => return Ok(Err(ObjectProblem::Regions(count))),
    };
    let version = region_version(api);
    let mut regions = Vec::new();
    for index in 0..count {
        let request = GetObjRegion {
            number: object.number,
            index,
            kind: object.kind,
        };
        let placed = match session.send_version(version, &request) {
            Ok(answer) => place(kind, &answer, version, windows),
            Err(error) if error.unknown_state() => return Err(error),
            Err(error) => Err(RegionProblem::Unreadable(error)),
        };
        match placed {
            Ok(region) => regions.push(region),
            Err(problem) => return Ok(Err(ObjectProblem::Region { index, problem })),
        }
    }
    Ok(Ok(regions))
}
