//! Loads a Linux bzImage by its 64-bit entry point. Nothing in the image is believed.
//!
//! What the entry point needs beside the image goes into low RAM, where the kernel moves it from before it uses that
//! memory for anything else:
//!
//! ```text
//! 0x6000   descriptor table
//! 0x7000   boot_params, the "zero page"
//! 0x8000   page tables: 4 GiB, one to one
//! 0x20000  command line, ended by zero
//! ```

use super::layout::HIGH_RAM;
use super::loader::{BootParameters, LoadError, above, top_of_ram};
use super::rom;
use super::{GuestMemory, MemoryError};
use crate::addr::GuestPhys;
use crate::virt::LongEntry;
use alloc::string::String;
use alloc::vec::Vec;
use spec::linux_boot as boot;
use spec::page_table::Entry;
use zerocopy::IntoBytes;

const GDT: u64 = 0x6000;
const BOOT_PARAMS: u64 = 0x7000;
const TABLES: u64 = 0x8000;
const COMMAND_LINE: u64 = 0x2_0000;
const PAGE: u64 = 4096;
const SECTOR: usize = 512;
/// Real-mode sectors where the image says 0.
const OLD_SETUP_SECTS: usize = 4;
/// GiB that the first page tables map.
const MAPPED_GIB: u64 = 4;

/// Flat segments: null, unused, 64-bit code, data (AMD64 manual, volume 2, section 4.8).
const DESCRIPTORS: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// Why a bzImage was not loaded. The configuration's fault: it names the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BzImageError {
    /// Shorter than its headers or than they say.
    #[error("the bzImage is cut off: {have:#x} bytes, {need:#x} needed; copy it again")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that its headers speak of.
        need: usize,
    },
    /// No 64-bit entry point.
    #[error(
        "the bzImage has no 64-bit entry point (boot protocol {version:#06x}); use an x86-64 kernel, 3.8 or later"
    )]
    No64BitEntry {
        /// The boot protocol's version.
        version: u16,
    },
    /// An alignment that is none, or a place outside RAM.
    #[error(
        "the bzImage's setup header is broken (alignment {alignment:#x}, load address {address:#x}); copy it again"
    )]
    Header {
        /// Alignment of the load address.
        alignment: u64,
        /// The load address that it wants.
        address: u64,
    },
    /// More memory than the guest has.
    #[error("the kernel needs {need:#x} bytes of memory and the guest has {ram:#x}; give it more `memory`")]
    Memory {
        /// Bytes from the start of memory.
        need: u64,
        /// Bytes of the guest's memory.
        ram: u64,
    },
    /// A command line that the kernel would cut.
    #[error("a command line of {length} bytes; this kernel takes {most}")]
    CommandLine {
        /// Bytes.
        length: usize,
        /// The most it takes.
        most: usize,
    },
}

/// Whether `image` says of itself that it is a bzImage.
#[must_use]
pub fn is_one(image: &[u8]) -> bool {
    let here = |at: usize, bytes: &[u8]| image.get(at..at + bytes.len()) == Some(bytes);
    here(boot::BOOT_FLAG, &boot::BOOT_FLAG_VALUE.to_le_bytes()) && here(boot::HEADER, &boot::HEADER_VALUE)
}

/// What of the setup header decides where things go.
#[derive(Clone, Copy, Debug)]
struct Header<'a> {
    /// The header's own bytes, which `boot_params` gets.
    setup: &'a [u8],
    /// What is loaded.
    payload: &'a [u8],
    alignment: u64,
    relocatable: bool,
    preferred: u64,
    init_size: u64,
    initrd_end: u64,
    command_line: usize,
}

impl<'a> Header<'a> {
    fn read(image: &'a [u8]) -> Result<Self, BzImageError> {
        let have = image.len();
        let cut = |need: usize| BzImageError::Truncated { have, need };
        let part = |at: usize, bytes: usize| image.get(at..at + bytes).ok_or(cut(at + bytes));
        let number = |at: usize, bytes: usize| {
            let fold = |value, byte: &u8| value << 8 | u64::from(*byte);
            part(at, bytes).map(|bytes| bytes.iter().rev().fold(0u64, fold))
        };
        let version = number(boot::VERSION, 2)? as u16;
        let no_entry = BzImageError::No64BitEntry { version };
        if version < boot::VERSION_XLOADFLAGS
            || number(boot::XLOADFLAGS, 2)? as u16 & boot::XLF_KERNEL_64 == 0
        {
            return Err(no_entry);
        }
        let end = boot::HEADER + number(boot::JUMP, 1)? as usize;
        // Shorter than the fields that this version has, or over what follows it.
        if !(boot::INIT_SIZE + 4..=boot::HEADER_LIMIT).contains(&end) {
            return Err(no_entry);
        }
        let sectors = match number(boot::SETUP_SECTS, 1)? as usize {
            0 => OLD_SETUP_SECTS,
            sectors => sectors,
        };
        let start = (sectors + 1) * SECTOR;
        // At most 64 GiB, so it fits.
        let bytes = number(boot::SYSSIZE, 4)? as usize * 16;
        // The length is rounded up to 16 bytes, the file need not be.
        let payload = image
            .get(start..have.min(start + bytes))
            .ok_or(cut(start + bytes))?;
        if payload.len() + 16 <= bytes || payload.len() as u64 <= boot::ENTRY_64 {
            return Err(cut(start + bytes.max(boot::ENTRY_64 as usize + 1)));
        }
        Ok(Self {
            setup: part(boot::SETUP_SECTS, end - boot::SETUP_SECTS)?,
            payload,
            alignment: number(boot::KERNEL_ALIGNMENT, 4)?,
            relocatable: number(boot::RELOCATABLE_KERNEL, 1)? != 0,
            preferred: number(boot::PREF_ADDRESS, 8)?,
            init_size: number(boot::INIT_SIZE, 4)?.max(bytes as u64),
            initrd_end: number(boot::INITRD_ADDR_MAX, 4)? + 1,
            command_line: number(boot::CMDLINE_SIZE, 4)? as usize,
        })
    }

    /// Where the payload goes: where it wants to be, else as low as it may.
    fn place(&self, ram: u64) -> Result<u64, BzImageError> {
        let fits = |at: u64| at.checked_add(self.init_size).is_some_and(|end| end <= ram);
        if self.preferred >= HIGH_RAM && self.preferred.is_multiple_of(PAGE) && fits(self.preferred) {
            return Ok(self.preferred);
        }
        let broken = BzImageError::Header {
            alignment: self.alignment,
            address: self.preferred,
        };
        if !self.alignment.is_power_of_two() {
            return Err(broken);
        }
        let lowest = HIGH_RAM.next_multiple_of(self.alignment.max(PAGE));
        let at = if self.relocatable { lowest } else { self.preferred };
        match at.checked_add(self.init_size) {
            Some(end) if end <= ram && at >= HIGH_RAM && self.relocatable => Ok(at),
            Some(need) if need > ram => Err(BzImageError::Memory { need, ram }),
            _ => Err(broken),
        }
    }
}

/// Loads `image` and all that its entry point needs into `memory`, which the caller has wiped.
///
/// # Errors
/// [`LoadError`]; memory may hold part of the image then.
pub fn load(
    image: &[u8],
    parameters: BootParameters<'_>,
    memory: &GuestMemory,
) -> Result<LongEntry, LoadError> {
    let header = Header::read(image)?;
    let ram = memory.size();
    let at = header.place(ram)?;
    let line = command_line(parameters);
    if line.len() > header.command_line {
        return Err(BzImageError::CommandLine {
            length: line.len(),
            most: header.command_line,
        }
        .into());
    }
    let initrd = top_of_ram(
        memory,
        parameters.initrd,
        header.initrd_end,
        above(at, header.init_size),
    )?;
    let rom = rom::build(parameters, ram, None)?;
    let page = boot_params(&header, initrd, parameters.initrd.len(), rom.rsdp, ram);

    let memory_error = |_: MemoryError| BzImageError::Memory {
        need: above(at, header.init_size),
        ram,
    };
    let put = |at: u64, bytes: &[u8]| memory.write(GuestPhys(at), bytes).map_err(memory_error);
    put(at, header.payload)?;
    put(BOOT_PARAMS, &page)?;
    put(COMMAND_LINE, line.as_bytes())?;
    put(COMMAND_LINE + line.len() as u64, &[0])?;
    put(GDT, DESCRIPTORS.as_bytes())?;
    for (number, table) in (0..).zip(page_tables()) {
        put(TABLES + number * PAGE, table.as_bytes())?;
    }
    rom.load(memory)?;
    Ok(LongEntry {
        rip: at + boot::ENTRY_64,
        rsi: BOOT_PARAMS,
        cr3: TABLES,
        gdt: GDT,
        gdt_limit: size_of_val(&DESCRIPTORS) as u32 - 1,
        code: boot::BOOT_CS,
        data: boot::BOOT_DS,
    })
}

/// The command line, with the counter's frequency, which Linux would otherwise measure against timers that are not there.
fn command_line(parameters: BootParameters<'_>) -> String {
    const KEY: &str = "tsc_early_khz=";
    let line = parameters.command_line;
    if line.contains(KEY) {
        return String::from(line);
    }
    let space = if line.is_empty() { "" } else { " " };
    // First, because what follows "--" is for the guest's init.
    alloc::format!("{KEY}{}{space}{line}", parameters.tsc_khz)
}

fn boot_params(header: &Header<'_>, initrd: u64, initrd_bytes: usize, rsdp: u64, ram: u64) -> Vec<u8> {
    let mut page = alloc::vec![0u8; boot::BOOT_PARAMS_SIZE];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in page.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(boot::SETUP_SECTS, header.setup);
    put(boot::TYPE_OF_LOADER, &[boot::LOADER_UNDEFINED]);
    put(boot::RAMDISK_IMAGE, &(initrd as u32).to_le_bytes());
    put(boot::RAMDISK_SIZE, &(initrd_bytes as u32).to_le_bytes());
    put(boot::CMD_LINE_PTR, &(COMMAND_LINE as u32).to_le_bytes());
    put(boot::ACPI_RSDP_ADDR, &rsdp.to_le_bytes());
    let map = rom::memory_map(ram);
    put(boot::E820_ENTRIES, &[map.len() as u8]);
    for (number, entry) in map.iter().enumerate() {
        let at = boot::E820_TABLE + number * boot::E820_ENTRY;
        put(at, entry.address.as_bytes());
        put(at + 8, entry.size.as_bytes());
        put(at + 16, entry.kind.as_bytes());
    }
    page
}

/// Tables that map the first [`MAPPED_GIB`] one to one in pages of 2 MiB: the top table, the second, and one for each GiB.
fn page_tables() -> Vec<[u64; 512]> {
    let flags = (Entry::PRESENT | Entry::WRITABLE).bits();
    let mut tables = alloc::vec![[0u64; 512]; 2];
    let (mut top, mut second) = ([0; 512], [0; 512]);
    top[0] = (TABLES + PAGE) | flags;
    for (gib, entry) in (0..MAPPED_GIB).zip(&mut second) {
        *entry = (TABLES + (2 + gib) * PAGE) | flags;
        let mut third = [0; 512];
        for (page, entry) in (0..).zip(&mut third) {
            *entry = gib << 30 | page << 21 | flags | Entry::LARGE.bits();
        }
        tables.push(third);
    }
    for (to, from) in tables.iter_mut().zip([top, second]) {
        *to = from;
    }
    tables
}

#[cfg(test)]
#[path = "bzimage_tests.rs"]
mod tests;
