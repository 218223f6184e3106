//! VIOT: which virtio-iommu translates which function, and under which endpoint id.

use super::table::{HEADER, Table};
use super::{Error, Fault};
use alloc::vec::Vec;
use core::fmt;
use spec::viot::{self, NodeHeader, node_type};
use vfio_core::pci::Bdf;

/// The most nodes that Cohort takes.
const MAX_NODES: usize = 1024;

/// The name by which a virtio-iommu knows whoever accesses memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {:#x}", self.0)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a virtio-iommu is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuLocation {
    /// It is a PCI function.
    Pci(Bdf),
    /// Its registers are at this host physical address (virtio-mmio; Cohort has no driver for it).
    Mmio(u64),
}

/// Functions whose endpoint ids follow their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciRange {
    /// Endpoint id of the first requester id in the first segment.
    pub endpoint_start: u32,
    /// First and last segment, inclusive.
    pub segments: (u16, u16),
    /// First and last requester id, inclusive.
    pub requesters: (u16, u16),
    /// Which of [`Viot::iommus`] translates.
    pub iommu: usize,
}

impl PciRange {
    /// `endpoint id = ((segment - first) << 16) + (requester id - first) + first endpoint id`
    /// (ACPI 6.5, section 5.2.34.1).
    fn endpoint(&self, bdf: Bdf) -> Option<EndpointId> {
        let within = (self.segments.0..=self.segments.1).contains(&bdf.segment())
            && (self.requesters.0..=self.requesters.1).contains(&bdf.requester_id());
        if !within {
            return None;
        }
        let segment = u32::from(bdf.segment() - self.segments.0);
        let requester = u32::from(bdf.requester_id() - self.requesters.0);
        self.endpoint_start
            .checked_add(segment << 16 | requester)
            .map(EndpointId)
    }

    fn function(&self, endpoint: EndpointId) -> Option<Bdf> {
        let relative = endpoint.0.checked_sub(self.endpoint_start)?;
        let segment = u32::from(self.segments.0) + (relative >> 16);
        let requester = u32::from(self.requesters.0) + (relative & 0xffff);
        if segment > self.segments.1.into() || requester > self.requesters.1.into() {
            return None;
        }
        Some(Bdf::from_requester_id(
            u16::try_from(segment).ok()?,
            u16::try_from(requester).ok()?,
        ))
    }

    /// The last endpoint id, or `None` past the end of the numbers.
    fn endpoint_end(&self) -> Option<u32> {
        let segments = u32::from(self.segments.1 - self.segments.0);
        let requesters = u32::from(self.requesters.1 - self.requesters.0);
        self.endpoint_start.checked_add(segments << 16 | requesters)
    }
}

/// What the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viot {
    /// The virtio-iommus.
    pub iommus: Vec<IommuLocation>,
    /// Which functions they translate, without overlaps.
    pub ranges: Vec<PciRange>,
}

impl Viot {
    /// The endpoint id of the requester `bdf`, and the index in [`Self::iommus`] of what translates for it.
    ///
    /// `None`: nothing translates for it. That holds for a virtio-iommu's own function whatever range it
    /// lies in, since a virtio-iommu does not translate itself.
    #[must_use]
    pub fn endpoint(&self, bdf: Bdf) -> Option<(usize, EndpointId)> {
        if self.is_iommu(bdf) {
            return None;
        }
        self.ranges
            .iter()
            .find_map(|range| Some((range.iommu, range.endpoint(bdf)?)))
    }

    /// The requester that `endpoint` of the IOMMU with index `iommu` stands for.
    #[must_use]
    pub fn function(&self, iommu: usize, endpoint: EndpointId) -> Option<Bdf> {
        let mut ranges = self.ranges.iter().filter(|range| range.iommu == iommu);
        ranges
            .find_map(|range| range.function(endpoint))
            .filter(|&bdf| !self.is_iommu(bdf))
    }

    /// Whether `bdf` is a virtio-iommu's own function.
    #[must_use]
    pub fn is_iommu(&self, bdf: Bdf) -> bool {
        self.iommus.contains(&IommuLocation::Pci(bdf))
    }

    /// The virtio-iommus that are PCI functions.
    pub fn pci_iommus(&self) -> impl Iterator<Item = Bdf> + '_ {
        self.iommus.iter().filter_map(|iommu| match iommu {
            IommuLocation::Pci(bdf) => Some(*bdf),
            IommuLocation::Mmio(_) => None,
        })
    }
}

/// A node's header with where it lies.
struct Node {
    offset: usize,
    kind: u8,
}

fn nodes(table: &Table<'_>) -> Result<Vec<Node>, Error> {
    let fixed: viot::Fixed = table.read(HEADER)?;
    let count = usize::from(fixed.node_count.get());
    let least = HEADER + size_of::<viot::Fixed>();
    let mut offset = usize::from(fixed.node_offset.get());
    if offset < least || offset > table.bytes.len() {
        let fault = Fault::Length {
            found: offset,
            least,
            most: table.bytes.len(),
        };
        return Err(table.error(HEADER + 2, fault));
    }
    if count > MAX_NODES {
        return Err(table.error(HEADER, Fault::TooMany { most: MAX_NODES }));
    }
    let mut nodes = Vec::new();
    while nodes.len() < count && offset < table.bytes.len() {
        let header: NodeHeader = table.read(offset)?;
        let length = usize::from(header.length.get());
        let left = table.bytes.len() - offset;
        let least = match header.kind {
            node_type::PCI_RANGE | node_type::MMIO_ENDPOINT => size_of::<viot::PciRange>(),
            node_type::VIRTIO_IOMMU_PCI | node_type::VIRTIO_IOMMU_MMIO => size_of::<viot::VirtioIommuPci>(),
            _ => size_of::<NodeHeader>(),
        };
        if length < least || length > left {
            return Err(table.error(
                offset,
                Fault::Length {
                    found: length,
                    least,
                    most: left,
                },
            ));
        }
        nodes.push(Node {
            offset,
            kind: header.kind,
        });
        offset += length;
    }
    if nodes.len() == count {
        Ok(nodes)
    } else {
        Err(table.error(
            HEADER,
            Fault::Count {
                claimed: count,
                found: nodes.len(),
            },
        ))
    }
}

pub(super) fn parse(table: Table<'_>) -> Result<Viot, Error> {
    let nodes = nodes(&table)?;
    let mut iommus = Vec::new();
    let mut offsets = Vec::new();
    for node in &nodes {
        let location = match node.kind {
            node_type::VIRTIO_IOMMU_PCI => {
                let node: viot::VirtioIommuPci = table.read(node.offset)?;
                IommuLocation::Pci(Bdf::from_requester_id(node.segment.get(), node.bdf.get()))
            }
            node_type::VIRTIO_IOMMU_MMIO => {
                let node: viot::VirtioIommuMmio = table.read(node.offset)?;
                IommuLocation::Mmio(node.base.get())
            }
            _ => continue,
        };
        iommus.push(location);
        offsets.push(node.offset);
    }
    let mut ranges = Vec::new();
    for node in nodes.iter().filter(|node| node.kind == node_type::PCI_RANGE) {
        let entry: viot::PciRange = table.read(node.offset)?;
        let target = usize::from(entry.output_node.get());
        let iommu = offsets
            .iter()
            .position(|&offset| offset == target)
            .ok_or(table.error(node.offset, Fault::NoSuchNode { target }))?;
        let range = PciRange {
            endpoint_start: entry.endpoint_start.get(),
            segments: (entry.segment_start.get(), entry.segment_end.get()),
            requesters: (entry.bdf_start.get(), entry.bdf_end.get()),
            iommu,
        };
        check(&range, &ranges).map_err(|fault| table.error(node.offset, fault))?;
        ranges.push(range);
    }
    Ok(Viot { iommus, ranges })
}

fn check(range: &PciRange, earlier: &[PciRange]) -> Result<(), Fault> {
    fn meet<T: Ord>(a: (T, T), b: (T, T)) -> bool {
        a.0 <= b.1 && b.0 <= a.1
    }
    for (start, end) in [range.segments, range.requesters] {
        if end < start {
            return Err(Fault::EmptyRange {
                start: start.into(),
                end: end.into(),
            });
        }
    }
    let ids = |range: &PciRange| range.endpoint_end().map(|end| (range.endpoint_start, end));
    let own = ids(range).ok_or(Fault::Overflow)?;
    let overlaps = earlier.iter().any(|other| {
        let functions = meet(other.segments, range.segments) && meet(other.requesters, range.requesters);
        let endpoints = other.iommu == range.iommu && ids(other).is_some_and(|ids| meet(ids, own));
        functions || endpoints
    });
    if overlaps { Err(Fault::Overlap) } else { Ok(()) }
}
