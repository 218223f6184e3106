//! The virtio IOMMU device's configuration, requests and events (virtio 1.2, section 5.13).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Virtio device id.
pub const DEVICE_ID: u16 = 23;

/// Queue of requests (5.13.2).
pub const REQUEST_QUEUE: u16 = 0;
/// Queue of events.
pub const EVENT_QUEUE: u16 = 1;

bitflags! {
    /// Feature bits, device-specific (5.13.3) and the one general bit that the driver needs (6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// `input_range` is valid.
        const INPUT_RANGE = 1 << 0;
        /// `domain_range` is valid.
        const DOMAIN_RANGE = 1 << 1;
        /// MAP and UNMAP are there.
        const MAP_UNMAP = 1 << 2;
        /// If negotiated, unattached endpoints bypass (superseded by `BYPASS_CONFIG`).
        const BYPASS = 1 << 3;
        /// PROBE is there.
        const PROBE = 1 << 4;
        /// The MMIO flag of MAP is usable.
        const MMIO = 1 << 5;
        /// The configuration field `bypass` decides, and is writable.
        const BYPASS_CONFIG = 1 << 6;
        /// Virtio 1.0 and later.
        const VERSION_1 = 1 << 32;
    }
}

/// Device configuration (5.13.4).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Config {
    /// Bit n set: pages of 2^n bytes.
    pub page_size_mask: U64,
    /// First I/O virtual address.
    pub input_start: U64,
    /// Last I/O virtual address, inclusive.
    pub input_end: U64,
    /// First domain id.
    pub domain_start: U32,
    /// Last domain id, inclusive.
    pub domain_end: U32,
    /// Bytes of properties that PROBE returns.
    pub probe_size: U32,
    /// 1: unattached endpoints reach memory untranslated.
    pub bypass: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Offset of [`Config::bypass`].
pub const CONFIG_BYPASS_OFFSET: u16 = 36;

/// What every request begins with (5.13.6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Head {
    /// The constants of [`request_type`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// What every request ends with, written by the device.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tail {
    /// The constants of [`status`].
    pub status: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Types of request (5.13.6).
pub mod request_type {
    /// [`super::Attach`].
    pub const ATTACH: u8 = 1;
    /// [`super::Detach`].
    pub const DETACH: u8 = 2;
    /// [`super::Map`].
    pub const MAP: u8 = 3;
    /// [`super::Unmap`].
    pub const UNMAP: u8 = 4;
    /// [`super::Probe`].
    pub const PROBE: u8 = 5;
}

/// Status codes (5.13.6).
pub mod status {
    /// Done.
    pub const OK: u8 = 0;
    /// Virtio communication error.
    pub const IOERR: u8 = 1;
    /// Unsupported request.
    pub const UNSUPP: u8 = 2;
    /// Internal device error.
    pub const DEVERR: u8 = 3;
    /// Invalid parameters.
    pub const INVAL: u8 = 4;
    /// Out-of-range parameters.
    pub const RANGE: u8 = 5;
    /// Entry not found.
    pub const NOENT: u8 = 6;
    /// Bad address.
    pub const FAULT: u8 = 7;
    /// Insufficient resources.
    pub const NOMEM: u8 = 8;
}

/// Puts an endpoint into a domain (5.13.6.3). The tail follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Attach {
    /// Type ATTACH.
    pub head: Head,
    /// The domain, made if it does not exist.
    pub domain: U32,
    /// The endpoint.
    pub endpoint: U32,
    /// Bit 0: a bypass domain.
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 4],
}

/// Takes an endpoint out of its domain (5.13.6.4). The tail follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Detach {
    /// Type DETACH.
    pub head: Head,
    /// The domain.
    pub domain: U32,
    /// The endpoint.
    pub endpoint: U32,
    /// Zero.
    pub reserved: [u8; 8],
}

bitflags! {
    /// What a mapping allows (5.13.6.5).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MapFlags: u32 {
        /// Reads.
        const READ = 1 << 0;
        /// Writes.
        const WRITE = 1 << 1;
        /// The target is device memory.
        const MMIO = 1 << 2;
    }
}

/// Maps a range (5.13.6.5). The tail follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Map {
    /// Type MAP.
    pub head: Head,
    /// The domain.
    pub domain: U32,
    /// First I/O virtual address.
    pub virt_start: U64,
    /// Last I/O virtual address, inclusive.
    pub virt_end: U64,
    /// Physical address of the first byte.
    pub phys_start: U64,
    /// [`MapFlags`].
    pub flags: U32,
}

/// Removes the mappings inside a range (5.13.6.6). The tail follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Unmap {
    /// Type UNMAP.
    pub head: Head,
    /// The domain.
    pub domain: U32,
    /// First I/O virtual address.
    pub virt_start: U64,
    /// Last I/O virtual address, inclusive.
    pub virt_end: U64,
    /// Zero.
    pub reserved: [u8; 4],
}

/// Asks for an endpoint's properties (5.13.6.7). `probe_size` bytes of properties and the tail follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Probe {
    /// Type PROBE.
    pub head: Head,
    /// The endpoint.
    pub endpoint: U32,
    /// Zero.
    pub reserved: [u8; 64],
}

/// What every property begins with (5.13.6.7).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PropertyHeader {
    /// Type in bits 11:0; 0 ends the list.
    pub kind: U16,
    /// Bytes after this header.
    pub length: U16,
}

/// The bits of [`PropertyHeader::kind`] that are the type.
pub const PROPERTY_TYPE_MASK: u16 = 0xfff;
/// End of the list.
pub const PROPERTY_NONE: u16 = 0;
/// A [`ResvMem`].
pub const PROPERTY_RESV_MEM: u16 = 1;

/// A range that the device does not translate as memory (5.13.6.8).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ResvMem {
    /// Type RESV_MEM, length 20.
    pub header: PropertyHeader,
    /// [`RESV_MEM_RESERVED`] or [`RESV_MEM_MSI`].
    pub subtype: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// First address.
    pub start: U64,
    /// Last address, inclusive.
    pub end: U64,
}

/// Accesses have no defined effect.
pub const RESV_MEM_RESERVED: u8 = 0;
/// Writes are interrupts, untranslated.
pub const RESV_MEM_MSI: u8 = 1;

bitflags! {
    /// What a fault says about the access (5.13.6.9).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FaultFlags: u32 {
        /// A read.
        const READ = 1 << 0;
        /// A write.
        const WRITE = 1 << 1;
        /// The address is valid.
        const ADDRESS = 1 << 8;
    }
}

/// Cause not given.
pub const FAULT_UNKNOWN: u8 = 0;
/// The endpoint is in no domain.
pub const FAULT_DOMAIN: u8 = 1;
/// No mapping, or one that forbids the access.
pub const FAULT_MAPPING: u8 = 2;

/// A fault that the device reports (5.13.6.9).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fault {
    /// Why.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// [`FaultFlags`].
    pub flags: U32,
    /// The endpoint.
    pub endpoint: U32,
    /// Zero.
    pub reserved1: [u8; 4],
    /// The address, where the flags say that it is valid.
    pub address: U64,
}
