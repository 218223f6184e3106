//! The bundle: header, configuration, images, in one boot module.
//!
//! ```text
//! 0   magic      8 bytes
//! 8   version    u32, little endian
//! 12  crc        u32, little endian: CRC-32C (CRC-32/ISCSI) of everything from offset 16
//! 16  config_len u32, little endian
//! 20  images_len u32, little endian
//! 24  config     postcard, config_len bytes
//!     images     images_len bytes; `Image::offset` counts from here
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use vfio_core::pci::Bdf;

/// First bytes of a bundle.
pub const MAGIC: [u8; 8] = *b"COHORT\x1a\n";

/// Version of the format; a hypervisor reads exactly its own.
pub const VERSION: u32 = 5;

const HEADER_LEN: usize = 24;
const CRC_START: usize = 16;
/// The polynomial that processors have an instruction for.
static CRC32C: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// The checksum of a bundle, CRC-32C, on any processor.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes)
}

/// What the hypervisor is to do, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What to do after discovery.
    pub mode: Mode,
    /// The user accepts interrupts that no hardware isolates.
    pub allow_unsafe_interrupts: bool,
    /// Devices that the user splits off from their isolation groups, at their own risk.
    pub split_unsafe: Vec<Bdf>,
    /// A guest that still runs this many milliseconds after the first guest started is stopped and
    /// counted as failed; 0 means no limit.
    pub deadline_ms: u32,
    /// The partitions.
    pub guests: Vec<Guest>,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Open the cohorts and run the guests.
    Run,
    /// Discover, plan every open as `Run` would, report, and stop. No device is touched.
    Check,
    /// Discover and report sets, groups and cohorts.
    Sets,
    /// Measure.
    Bench,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Name in every message; at most [`Guest::MAX_NAME`] bytes.
    pub name: String,
    /// Physical CPUs by their order in the MADT, one vCPU each. CPU 0 is the hypervisor's.
    pub cpus: Vec<u32>,
    /// Bytes of RAM, at guest physical address 0; a multiple of 2 MiB.
    pub memory: u64,
    /// Host physical address of that RAM, if the user fixes it; a multiple of 2 MiB.
    pub memory_at: Option<u64>,
    /// ELF64 image with a PVH note, or a Linux bzImage.
    pub image: Image,
    /// Initial file system that the image finds in its memory.
    pub initrd: Option<Image>,
    /// What becomes of accesses that no table allows.
    pub denied: Denied,
    /// What becomes of it when a device of its is blocked by an IOMMU.
    pub on_fault: OnFault,
    /// Handed to the guest as its command line.
    pub cmdline: String,
    /// PCI functions to assign.
    pub devices: Vec<Bdf>,
    /// What must come of this guest for the run to count as a success.
    pub expect: Expect,
    /// What is done when it ends.
    pub on_exit: OnExit,
}

impl Guest {
    /// Longest name, in bytes.
    pub const MAX_NAME: usize = 32;
    /// Longest command line, in bytes.
    pub const MAX_CMDLINE: usize = 2048;
    /// Most restarts.
    pub const MAX_RESTARTS: u32 = 10_000;
}

/// What becomes of a guest's access to a port, a model-specific register or an address where no table has anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denied {
    /// It is the guest's fault, which ends it.
    Stop,
    /// What a PC without the thing would do: reads are all ones, writes are lost, registers raise #GP.
    Hardware,
}

/// What is done, beside reporting it, when an IOMMU blocks an access of a guest's device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFault {
    /// Nothing: the access was blocked.
    #[default]
    Report,
    /// The cohort that the device is in reaches nothing any more until it is closed; the guest goes on.
    Quarantine,
    /// The guest is stopped.
    Stop,
}

/// Where an image lies in the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// From the start of the images.
    pub offset: u32,
    /// In bytes.
    pub len: u32,
}

/// What is done when a guest ends. One that said success, turned its power off, or still ran at the deadline is done in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnExit {
    /// It is over.
    Stop,
    /// It starts again with the devices that it has, if it reset itself, panicked, said failure, or was stopped for a fault.
    Restart {
        /// This often at most.
        times: u32,
    },
}

/// What must come of a guest, the last time that it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// It ends itself and says success.
    Success,
    /// It is stopped for a fault of its own.
    Stopped,
    /// It resets itself.
    Reset,
    /// Anything: the run does not depend on it.
    Any,
}

/// Why a bundle was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Shorter than it says or than a header.
    #[error("the bundle is truncated: {have} bytes, {need} needed; build it again with `cargo run`")]
    Truncated {
        /// Bytes present.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Not a bundle at all.
    #[error("the boot module is not a Cohort bundle; pass the file that `cohort` built")]
    Magic,
    /// Another version of the format.
    #[error("the bundle has format {found}, this hypervisor reads {VERSION}; build both together")]
    Version {
        /// Version in the header.
        found: u32,
    },
    /// The contents changed since the bundle was built.
    #[error("the bundle is corrupt: checksum {found:#010x}, header says {expected:#010x}; build it again")]
    Checksum {
        /// As computed.
        found: u32,
        /// As in the header.
        expected: u32,
    },
    /// The checksum holds but the configuration does not decode.
    #[error("the bundle's configuration does not decode; build host tool and hypervisor together")]
    Config,
}

/// A bundle that was read, borrowed from the boot module.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// The configuration.
    pub config: Config,
    images: &'a [u8],
}

impl<'a> Bundle<'a> {
    /// Reads a bundle. Bytes after its end are ignored, because boot loaders pad modules.
    ///
    /// # Errors
    /// [`BundleError`] names what is wrong; nothing is half read.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        Self::parse_with(bytes, checksum)
    }

    /// The same, with a faster way to compute [`checksum`].
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(bytes: &'a [u8], checksum: impl FnOnce(&[u8]) -> u32) -> Result<Self, BundleError> {
        let need = |need| BundleError::Truncated {
            have: bytes.len(),
            need,
        };
        let header = bytes.get(..HEADER_LEN).ok_or(need(HEADER_LEN))?;
        if header[..8] != MAGIC {
            return Err(BundleError::Magic);
        }
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if word(8) != VERSION {
            return Err(BundleError::Version { found: word(8) });
        }
        let config_end = HEADER_LEN.saturating_add(word(16) as usize);
        let end = config_end.saturating_add(word(20) as usize);
        let checked = bytes.get(CRC_START..end).ok_or(need(end))?;
        let (found, expected) = (checksum(checked), word(12));
        if found != expected {
            return Err(BundleError::Checksum { found, expected });
        }
        let (config, rest) =
            postcard::take_from_bytes(&bytes[HEADER_LEN..config_end]).map_err(|_| BundleError::Config)?;
        if !rest.is_empty() {
            return Err(BundleError::Config);
        }
        Ok(Self {
            config,
            images: &bytes[config_end..end],
        })
    }

    /// The bytes of `image`, or `None` where it reaches beyond the bundle.
    #[must_use]
    pub fn image(&self, image: Image) -> Option<&'a [u8]> {
        let start = image.offset as usize;
        self.images.get(start..start.checked_add(image.len as usize)?)
    }
}

/// Builds the bundle of `config` and `images`.
///
/// # Errors
/// [`BundleError::Config`] where the configuration does not encode, [`BundleError::Truncated`] where a
/// part is longer than the format's 32-bit lengths.
pub fn build(config: &Config, images: &[u8]) -> Result<Vec<u8>, BundleError> {
    let config = postcard::to_allocvec(config).map_err(|_| BundleError::Config)?;
    let len = |part: &[u8]| {
        u32::try_from(part.len()).map_err(|_| BundleError::Truncated {
            have: u32::MAX as usize,
            need: part.len(),
        })
    };
    let mut out = Vec::with_capacity(HEADER_LEN + config.len() + images.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&len(&config)?.to_le_bytes());
    out.extend_from_slice(&len(images)?.to_le_bytes());
    out.extend_from_slice(&config);
    out.extend_from_slice(images);
    let crc = checksum(&out[CRC_START..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}
