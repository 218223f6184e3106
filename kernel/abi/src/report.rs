//! The report: what happened, as typed records for programs.
//!
//! Each record is one postcard message with a CRC-32, framed by COBS and ended by a zero byte, on the second
//! serial port. A reader that starts in the middle, or sees noise, drops bytes up to the next zero.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use vfio_core::pci::Bdf;

/// One thing that happened, or that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A PCI function that discovery found.
    Device(Device),
    /// A cohort, with why its members belong together.
    Cohort(Cohort),
    /// Something was refused: a guest, a device, or the whole run.
    Refusal(Refusal),
    /// A guest's life ended.
    GuestEnd(GuestEnd),
    /// A blocked DMA access.
    DmaFault(DmaFault),
    /// A figure that `bench` measured.
    Figure(Figure),
    /// The last record of a run.
    Summary(Summary),
}

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its address.
    pub bdf: Bdf,
    /// Vendor and device id.
    pub id: (u16, u16),
    /// Class code: base class, sub-class, programming interface in bits 23:0.
    pub class: u32,
    /// Name of its device set (`slot 0000:01:00`, `bus 0000:02`, `0000:00:03.0`).
    pub set: String,
    /// Number of its isolation group.
    pub group: u32,
    /// Number of its cohort.
    pub cohort: u32,
    /// The best reset method, as text.
    pub reset: String,
    /// Why it cannot be assigned, if so.
    pub not_assignable: Option<String>,
    /// What the user overrode to keep it apart (`split-unsafe`), a sentence each.
    pub split_unsafe: Vec<String>,
}

/// A cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Its number.
    pub id: u32,
    /// Its members.
    pub members: Vec<Bdf>,
    /// Why members belong together, a sentence a link.
    pub because: Vec<String>,
    /// The guest that the configuration gives it to.
    pub owner: Option<String>,
    /// Its state, as text (`quarantined`, `open`, `broken: ...`).
    pub state: String,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The guest whose configuration it concerns.
    pub guest: Option<String>,
    /// The device that it concerns, as the configuration names it.
    pub device: Option<Bdf>,
    /// Devices that would have to be listed beside it.
    pub missing: Vec<Bdf>,
    /// The cause and the fix, for people.
    pub text: String,
}

/// How a guest ended and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestEnd {
    /// Its name.
    pub guest: String,
    /// `true` when it ended itself and said success.
    pub success: bool,
    /// `true` when what the configuration expects of it held.
    pub as_expected: bool,
    /// How it ended, for people.
    pub how: String,
    /// VM exits by reason.
    pub exits: Vec<(String, u64)>,
    /// Interrupts of devices that were delivered to it.
    pub interrupts: u64,
    /// Blocked DMA accesses of its devices, all of them, also those beyond the printed ones.
    pub dma_faults: u64,
    /// Device sets that were open for it.
    pub sets: u32,
    /// Time-stamp counter ticks from the hypervisor's entry to its first instruction.
    pub start_ticks: u64,
}

/// A blocked DMA access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmaFault {
    /// Who owned the device.
    pub guest: Option<String>,
    /// The device, or the function whose requester id it shares.
    pub device: Option<Bdf>,
    /// I/O virtual address, where the hardware gave it.
    pub address: Option<u64>,
    /// `read`, `write` or `unknown`.
    pub access: String,
    /// What lay there, for people.
    pub what: String,
}

/// A measured figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, a stable name.
    pub name: String,
    /// The figure.
    pub value: u64,
    /// `ticks`, `bytes`, `requests` or `exits`.
    pub unit: String,
}

/// Names of figures that have an aim, and mostly something of Linux to stand beside. Ticks are instructions where
/// the machine counts them (`--icount`).
pub mod figure {
    /// Ticks from the hypervisor's entry to the first instruction of a guest without devices.
    pub const START_BARE: &str = "start a guest without devices";
    /// The same for a guest with devices.
    pub const START_DEVICES: &str = "start a guest with devices";
    /// The same, less the time that resets prescribe to wait.
    pub const START_DEVICES_WITHOUT_WAIT: &str = "start a guest with devices, without waits";
    /// Ticks to open a whole set whose reset needs no wait.
    pub const OPEN_SET: &str = "open a device set";
    /// Ticks to close it.
    pub const CLOSE_SET: &str = "close a device set";
    /// Ticks to map 4 KiB for DMA.
    pub const MAP_4K: &str = "map 4 KiB";
    /// Ticks to map 2 MiB for DMA.
    pub const MAP_2M: &str = "map 2 MiB";
    /// Ticks to map 1 GiB for DMA.
    pub const MAP_1G: &str = "map 1 GiB";
    /// Ticks to unmap 4 KiB.
    pub const UNMAP_4K: &str = "unmap 4 KiB";
    /// Ticks to unmap 2 MiB.
    pub const UNMAP_2M: &str = "unmap 2 MiB";
    /// Ticks to unmap 1 GiB.
    pub const UNMAP_1G: &str = "unmap 1 GiB";
    /// Requests to the IOMMU for one mapping.
    pub const MAP_REQUESTS: &str = "requests for one mapping";
    /// Ticks from a guest's CPUID to its next instruction.
    pub const CPUID_EXIT: &str = "one CPUID exit there and back";
    /// Bytes of memory that the hypervisor holds for itself.
    pub const RESIDENT: &str = "resident memory of the hypervisor";
    /// Bytes of the hypervisor's loaded image; the host tool measures it.
    pub const IMAGE: &str = "image of the hypervisor";
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Every expectation held.
    pub success: bool,
    /// What did not hold, a sentence each.
    pub failures: Vec<String>,
    /// Device sets that were opened.
    pub sets_opened: u32,
    /// Bytes of memory that the hypervisor holds for itself.
    pub resident_bytes: u64,
}

/// Encodes one record with its frame.
///
/// # Errors
/// Only where memory runs out.
pub fn encode(record: &Record) -> Result<Vec<u8>, postcard::Error> {
    let checked = postcard::to_allocvec_crc32(record, CRC32.digest())?;
    postcard::to_allocvec_cobs(&checked)
}

const CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Decodes one frame (without or with its closing zero).
///
/// # Errors
/// The frame is not a whole record: noise, a part, or another version.
pub fn decode(frame: &mut [u8]) -> Result<Record, postcard::Error> {
    let checked: Vec<u8> = postcard::from_bytes_cobs(frame)?;
    postcard::from_bytes_crc32(&checked, CRC32.digest())
}
