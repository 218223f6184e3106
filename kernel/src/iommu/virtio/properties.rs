//! What PROBE says of an endpoint (virtio 1.2, section 5.13.6.7): the ranges that it cannot use as memory.

use crate::addr::Iova;
use alloc::vec::Vec;
use spec::virtio_iommu::{self as wire, PropertyHeader, ResvMem};
use vfio_core::domain::{IovaRange, ReservedKind, ReservedRegion};
use zerocopy::FromBytes;

/// The most reserved regions of one endpoint.
const MAX_REGIONS: usize = 64;

/// What the device says of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointProperties {
    /// Ranges that no mapping may meet, without overlaps.
    pub reserved: Vec<ReservedRegion>,
}

/// Reads the properties in `bytes`; the error is the offset of what is malformed.
///
/// Properties of unknown type are skipped, as the specification wants.
pub(super) fn parse(bytes: &[u8]) -> Result<EndpointProperties, usize> {
    let mut properties = EndpointProperties::default();
    let mut offset = 0;
    // A header that does not fit ends the list as an explicit end does.
    while let Ok((header, _)) = PropertyHeader::read_from_prefix(bytes.get(offset..).unwrap_or_default()) {
        let kind = header.kind.get() & wire::PROPERTY_TYPE_MASK;
        if kind == wire::PROPERTY_NONE {
            break;
        }
        let length = size_of::<PropertyHeader>() + usize::from(header.length.get());
        let property = bytes.get(offset..offset + length).ok_or(offset)?;
        if kind == wire::PROPERTY_RESV_MEM {
            let (region, _) = ResvMem::read_from_prefix(property).map_err(|_| offset)?;
            add(&mut properties, &region).ok_or(offset)?;
        }
        offset += length;
    }
    Ok(properties)
}

/// Adds a region. Its interrupt region is not translated: without interrupt remapping an endpoint can send any interrupt to
/// any processor. It has one at most, and no two regions overlap.
fn add(properties: &mut EndpointProperties, region: &ResvMem) -> Option<()> {
    let kind = match region.subtype {
        wire::RESV_MEM_MSI => ReservedKind::Msi,
        // An unknown subtype counts as reserved (5.13.6.8.1).
        _ => ReservedKind::Reserved,
    };
    let range = IovaRange::inclusive(Iova(region.start.get()), Iova(region.end.get()))?;
    let clash = |other: &ReservedRegion| {
        other.range.meets(range) || kind == ReservedKind::Msi && other.kind == ReservedKind::Msi
    };
    if properties.reserved.len() >= MAX_REGIONS || properties.reserved.iter().any(clash) {
        return None;
    }
    let region = ReservedRegion { kind, range };
    properties.reserved.push(region);
    Some(())
}
