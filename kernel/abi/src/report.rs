//! The report: what happened, as typed records for programs.
//!
//! Each record is one postcard message with a CRC-32, framed by COBS and ended by a zero byte, on the second
//! serial port. A reader that starts in the middle, or sees noise, drops bytes up to the next zero.

use crate::end::EndReason;
use alloc::string::{String, ToString};
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
    /// A cohort that was out of service was worked on.
    Repair(Repair),
    /// A guest ended and was started again.
    Restart(Restart),
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
    /// The cause and the fix, for people: what to do comes after the last `; `.
    pub text: String,
}

impl Refusal {
    /// Why it is refused.
    #[must_use]
    pub fn cause(&self) -> &str {
        self.text.rsplit_once("; ").map_or(&self.text, |(cause, _)| cause)
    }

    /// What to do about it, if the hypervisor knows.
    #[must_use]
    pub fn fix(&self) -> Option<&str> {
        self.text.rsplit_once("; ").map(|(_, fix)| fix)
    }
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
    /// How it ended.
    pub reason: EndReason,
    /// The same for people, with why it was not started again where that is not plain.
    pub how: String,
    /// How often it was started again before. What follows is of its last life, but for blocked accesses.
    pub restarts: u32,
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

/// A guest that ended and was started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Its name.
    pub guest: String,
    /// Which restart this is, from 1.
    pub number: u32,
    /// How many there may be.
    pub of: u32,
    /// How it had ended.
    pub reason: EndReason,
    /// The same for people.
    pub how: String,
    /// Interrupts of devices that were delivered to it until then.
    pub interrupts: u64,
    /// Time-stamp counter ticks from its end to its first instruction after it.
    pub ticks: u64,
}

impl core::fmt::Display for Restart {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            guest,
            number,
            of,
            how,
            ..
        } = self;
        write!(f, "{guest} {how}; it was started again, {number} of {of}")
    }
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

/// A try to bring a cohort back that was out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The cohort's number.
    pub cohort: u32,
    /// Its members.
    pub members: Vec<Bdf>,
    /// Why it was out of service.
    pub because: String,
    /// Why it still is; `None` if it can be opened again.
    pub problem: Option<String>,
}

impl core::fmt::Display for Repair {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let members = self
            .members
            .iter()
            .map(Bdf::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        write!(
            f,
            "cohort {} ({members}) was out of service: {}; ",
            self.cohort, self.because
        )?;
        match &self.problem {
            None => f.write_str("it is repaired"),
            Some(problem) => f.write_str(problem),
        }
    }
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
    // Most records are short, and need no buffer that grows.
    let (mut short, long);
    short = [0; SHORT];
    let record = match postcard::to_slice(record, &mut short) {
        Ok(encoded) => &*encoded,
        Err(_) => {
            long = postcard::to_allocvec(record)?;
            &*long
        }
    };
    let crc = CRC32.checksum(record).to_le_bytes();
    let mut prefix = [0; 10];
    let prefix = postcard::to_slice(&(record.len() + crc.len()), &mut prefix)?;
    let mut frame = Vec::with_capacity(2 + prefix.len() + record.len() + crc.len());
    frame.push(0);
    frame.extend_from_slice(prefix);
    frame.extend_from_slice(record);
    frame.extend_from_slice(&crc);
    frame.push(0);
    Ok(stuff(frame))
}

/// Bytes of what counts as a short record.
const SHORT: usize = 512;

/// Takes the zeros out of a message between two zeros, by COBS: each run of up to 254 bytes that are not zero stands behind
/// its length plus one, and stands for a zero behind it unless it is of full length. A zero ends it.
fn stuff(mut message: Vec<u8>) -> Vec<u8> {
    let last = message.len() - 1;
    let mut start = 0;
    // With no full run, each zero only gives way to the length of what follows it.
    for at in 1..message.len() {
        if message[at] == 0 {
            match u8::try_from(at - start) {
                Ok(len) if len <= COBS_RUN as u8 => message[start] = len,
                // Those before are done; the rest goes by the long way.
                _ => return stuff_long(&message, start),
            }
            start = at;
        }
    }
    debug_assert_eq!(start, last, "the message ends with a zero");
    message
}

/// The rest of [`stuff`] from the zero at `start` on, with full runs.
fn stuff_long(message: &[u8], start: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / COBS_RUN + 1);
    let (done, rest) = message.split_at(start);
    out.extend_from_slice(done);
    let rest = &rest[1..rest.len() - 1];
    for part in rest.split(|byte| *byte == 0) {
        let runs = part.chunks_exact(COBS_RUN);
        let short = runs.remainder();
        for run in runs {
            out.push(u8::MAX);
            out.extend_from_slice(run);
        }
        out.push(short.len() as u8 + 1);
        out.extend_from_slice(short);
    }
    out.push(0);
    out
}

/// Longest run of COBS.
const COBS_RUN: usize = 254;

// Sixteen bytes a step for the hypervisor; the reader goes byte by byte.
static CRC32: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);
const CRC32_OF_READER: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Decodes one frame (without or with its closing zero).
///
/// # Errors
/// The frame is not a whole record: noise, a part, or another version.
pub fn decode(frame: &mut [u8]) -> Result<Record, postcard::Error> {
    let checked: Vec<u8> = postcard::from_bytes_cobs(frame)?;
    postcard::from_bytes_crc32(&checked, CRC32_OF_READER.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record whose encoding has zeros, and runs without them, of any length.
    fn record(len: usize, zero: Option<usize>) -> Record {
        let byte = |at| if Some(at) == zero { '\0' } else { 'x' };
        Record::Summary(Summary {
            success: true,
            failures: Vec::from([(0..len).map(byte).collect(), "end".to_string()]),
            sets_opened: 0,
            resident_bytes: 1 << 40,
        })
    }

    #[test]
    fn a_repair_says_what_was_and_what_is() {
        let mut repair = Repair {
            cohort: 3,
            members: Vec::from([Bdf::new(0, 1, 0, 0), Bdf::new(0, 1, 0, 1)]),
            because: "resetting 0000:01:00.0: timed out".into(),
            problem: None,
        };
        assert_eq!(
            repair.to_string(),
            "cohort 3 (0000:01:00.0, 0000:01:00.1) was out of service: resetting 0000:01:00.0: timed out; it is repaired"
        );
        repair.problem = Some("the cohort stays out of service".into());
        assert!(repair.to_string().ends_with("; the cohort stays out of service"));
    }

    #[test]
    fn records_of_any_length_come_back_and_only_their_end_is_zero() {
        for len in (0..40usize).chain(200..300).chain(480..530) {
            for zero in [
                None,
                Some(0),
                Some(len / 2),
                Some(len.saturating_sub(1)),
                Some(253),
                Some(254),
            ] {
                let record = record(len, zero);
                let mut bytes = encode(&record).expect("it encodes");
                assert_eq!(
                    bytes.iter().position(|byte| *byte == 0),
                    Some(bytes.len() - 1),
                    "{len} {zero:?}"
                );
                let same = postcard::to_allocvec_crc32(&record, CRC32_OF_READER.digest());
                let same = postcard::to_allocvec_cobs(&same.expect("it encodes")).expect("it frames");
                let [mut first, mut second] = [bytes.clone(), same];
                assert_eq!(
                    postcard::from_bytes_cobs::<Vec<u8>>(&mut first),
                    postcard::from_bytes_cobs(&mut second)
                );
                assert_eq!(decode(&mut bytes), Ok(record));
            }
        }
    }

    #[test]
    fn a_damaged_record_does_not_decode() {
        let whole = encode(&record(300, Some(20))).expect("it encodes");
        for at in 0..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&mut damaged).is_err(), "{at}");
        }
    }
}
