//! What PROBE says of an endpoint (virtio 1.2, section 5.13.6.7): the ranges that it cannot use as memory.

use alloc::vec::Vec;
use spec::virtio_iommu::{self as wire, PropertyHeader, ResvMem};
use zerocopy::FromBytes;

/// The most reserved regions of one endpoint.
const MAX_REGIONS: usize = 64;

/// What a reserved region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedKind {
    /// Accesses have no defined effect.
    Reserved,
    /// Writes are interrupts. The device does not translate them: without interrupt remapping the endpoint can send
    /// any interrupt to any processor.
    Msi,
}

/// A range that an endpoint cannot use as memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedRegion {
    /// What for.
    pub kind: ReservedKind,
    /// First address.
    pub start: u64,
    /// Last address, inclusive.
    pub end: u64,
}

/// What the device says of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointProperties {
    /// Ranges that no mapping may meet, without overlaps.
    pub reserved: Vec<ReservedRegion>,
}

impl EndpointProperties {
    /// The first reserved region that meets `start` to `end`, inclusive.
    #[must_use]
    pub fn meets(&self, start: u64, end: u64) -> Option<&ReservedRegion> {
        self.reserved
            .iter()
            .find(|region| region.start <= end && start <= region.end)
    }
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

fn add(properties: &mut EndpointProperties, region: &ResvMem) -> Option<()> {
    let kind = match region.subtype {
        wire::RESV_MEM_MSI => ReservedKind::Msi,
        // An unknown subtype counts as reserved (5.13.6.8.1).
        _ => ReservedKind::Reserved,
    };
    let region = ReservedRegion {
        kind,
        start: region.start.get(),
        end: region.end.get(),
    };
    let second_msi = kind == ReservedKind::Msi
        && properties
            .reserved
            .iter()
            .any(|other| other.kind == ReservedKind::Msi);
    let bad = region.end < region.start
        || second_msi
        || properties.reserved.len() >= MAX_REGIONS
        || properties.meets(region.start, region.end).is_some();
    if bad {
        return None;
    }
    properties.reserved.push(region);
    Some(())
}
