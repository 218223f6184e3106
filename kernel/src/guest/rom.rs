//! The guest's read-only region: start information, memory map, command line and ACPI tables.
//!
//! ```text
//! 0xe0000  hvm_start_info
//! 0xe0040  memory map
//! 0xe00c0  the one module: the initial file system
//! 0xe0100  RSDP, XSDT, MADT, MCFG, FADT, DSDT, each at a multiple of 64
//!          command line, ended by zero
//! 0xffff0  reset vector
//! ```
//! Systems that search for the RSDP find it too: it is at a multiple of 16 below 1 MiB.

use super::apic::MAX_CPUS;
use super::layout::{BAR_WINDOW, ECAM, ECAM_SIZE, HIGH_RAM, LOW_RAM_END, ROM, ROM_SIZE};
use super::loader::BootParameters;
use super::policy::port::{RESET, RESET_VALUE};
use super::{GuestMemory, acpi};
use crate::addr::GuestPhys;
use alloc::vec::Vec;
use spec::lapic;
use spec::pvh::{MAGIC, MemoryMapEntry, ModuleEntry, RAM, RESERVED, StartInfo, VERSION};
use zerocopy::IntoBytes;

const MEMORY_MAP: usize = 0x40;
const MODULES: usize = 0xc0;
const RSDP: usize = 0x100;

/// Where a processor begins in real mode (AMD64 manual, volume 2, section 14.1.5), below 1 MiB. Systems that know no other
/// way to reset the machine jump there: Linux does with hardware-reduced ACPI and without EFI.
const RESET_VECTOR: u64 = ROM + ROM_SIZE - 16;
/// 16-bit code: mov dx, [`RESET`]; mov al, [`RESET_VALUE`]; out dx, al; hlt; and once more.
const RESET_CODE: [u8; 9] = [
    0xba,
    RESET as u8,
    (RESET >> 8) as u8,
    0xb0,
    RESET_VALUE,
    0xee,
    0xf4,
    0xeb,
    0xf7,
];

/// Why the region could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RomError {
    /// More than fits.
    #[error("boot information of {bytes} bytes does not fit into 128 KiB; shorten the command line")]
    TooLarge {
        /// Bytes.
        bytes: usize,
    },
    /// A command line that its end mark would cut.
    #[error("the command line contains a zero byte")]
    CommandLine,
    /// CPUs that no local APIC id is for.
    #[error("{cpus} CPUs for one guest: 1 to {MAX_CPUS} are possible")]
    Cpus {
        /// How many.
        cpus: u8,
    },
}

/// The region's contents.
#[derive(Clone, Debug)]
pub struct RomImage {
    /// What goes to [`ROM`].
    pub image: Vec<u8>,
    /// Guest physical address of `hvm_start_info`.
    pub start_info: u32,
    /// Guest physical address of the RSDP.
    pub rsdp: u64,
}

impl RomImage {
    /// Writes it into `memory`.
    ///
    /// # Errors
    /// [`RomError::TooLarge`].
    pub fn load(&self, memory: &GuestMemory) -> Result<(), RomError> {
        let put = |at: u64, bytes: &[u8]| memory.load_rom(GuestPhys(at), bytes);
        put(ROM, &self.image)
            .and_then(|()| put(RESET_VECTOR, &RESET_CODE))
            .map_err(|_| RomError::TooLarge {
                bytes: self.image.len(),
            })
    }
}

/// Builds the region for a guest with `ram` bytes. `module` is the address and the length of the initial file system.
///
/// # Errors
/// [`RomError`].
pub fn build(
    parameters: BootParameters<'_>,
    ram: u64,
    module: Option<(u64, u64)>,
) -> Result<RomImage, RomError> {
    if !(1..=MAX_CPUS).contains(&parameters.cpus) {
        return Err(RomError::Cpus {
            cpus: parameters.cpus,
        });
    }
    if parameters.command_line.contains('\0') {
        return Err(RomError::CommandLine);
    }
    let mut image = Vec::from([0; RSDP]);
    let rsdp = acpi::append(&mut image, ROM, parameters.cpus);
    let command_line = address(image.len());
    image.extend_from_slice(parameters.command_line.as_bytes());
    image.push(0);

    let map = memory_map(ram);
    let start_info = StartInfo {
        magic: MAGIC.into(),
        version: VERSION.into(),
        flags: 0.into(),
        modules: u32::from(module.is_some()).into(),
        module_list: module.map_or(0, |_| address(MODULES)).into(),
        command_line: command_line.into(),
        rsdp: rsdp.into(),
        memory_map: address(MEMORY_MAP).into(),
        memory_map_entries: (map.len() as u32).into(),
        reserved: 0.into(),
    };
    put(&mut image, 0, start_info.as_bytes());
    put(&mut image, MEMORY_MAP, map.as_bytes());
    if let Some((at, size)) = module {
        let entry = ModuleEntry {
            address: at.into(),
            size: size.into(),
            command_line: 0.into(),
            reserved: 0.into(),
        };
        put(&mut image, MODULES, entry.as_bytes());
    }
    if image.len() as u64 > RESET_VECTOR - ROM {
        return Err(RomError::TooLarge { bytes: image.len() });
    }
    Ok(RomImage {
        image,
        start_info: ROM as u32,
        rsdp,
    })
}

const fn address(offset: usize) -> u64 {
    ROM + offset as u64
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in image.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

pub(super) fn memory_map(ram: u64) -> [MemoryMapEntry; 5] {
    let entry = |start: u64, end: u64, kind: u32| MemoryMapEntry {
        address: start.into(),
        size: end.saturating_sub(start).into(),
        kind: kind.into(),
        reserved: 0.into(),
    };
    [
        entry(0, LOW_RAM_END, RAM),
        entry(ROM, ROM + ROM_SIZE, RESERVED),
        entry(HIGH_RAM, ram.min(BAR_WINDOW), RAM),
        entry(ECAM, ECAM + ECAM_SIZE, RESERVED),
        entry(lapic::BASE, lapic::BASE + lapic::SIZE, RESERVED),
    ]
}
