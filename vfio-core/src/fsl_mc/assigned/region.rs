//! What an owner may do with an object's regions.

use alloc::vec::Vec;

use super::PortalAccess;
use crate::device::{Mappable, MemoryType, RegionFlags, RegionInfo};
use crate::fsl_mc::ObjectType;
use crate::fsl_mc::scan::{ObjectRegion, RegionKind};
use crate::fsl_mc::spec::dprc::RegionAttributes;

const PAGE: u64 = 0x1000;

/// What an owner may do with `region` of an object of type `kind`.
///
/// A portal that is whole pages can be mapped, but never a container's: its commands change what is in the container. A command portal
/// that is not mapped traps. Firmware older than 6.6 reports 64 bytes for one, which can only trap. A queue portal that is not whole
/// pages can be used by nobody.
#[must_use]
pub fn describe(kind: ObjectType, region: &ObjectRegion, access: PortalAccess) -> RegionInfo {
    let whole_pages = region.address.0.is_multiple_of(PAGE) && region.size.is_multiple_of(PAGE);
    let wanted = region.kind == RegionKind::Queue || access == PortalAccess::Mapped;
    let (flags, mappable) = if whole_pages && wanted && kind != ObjectType::Dprc {
        let mappable = Mappable {
            offset: 0,
            size: region.size,
            address: region.address,
            memory_type: memory_type(region.attributes),
        };
        (RegionFlags::MAP, Vec::from([mappable]))
    } else if region.kind == RegionKind::Command {
        (RegionFlags::READ | RegionFlags::WRITE, Vec::new())
    } else {
        (RegionFlags::empty(), Vec::new())
    };
    RegionInfo {
        size: region.size,
        flags,
        mappable,
    }
}

const fn memory_type(attributes: RegionAttributes) -> MemoryType {
    if attributes.contains(RegionAttributes::CACHEABLE.union(RegionAttributes::SHAREABLE)) {
        MemoryType::Cached
    } else {
        MemoryType::Device
    }
}
