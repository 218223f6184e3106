//! Loads a guest's image: ELF64 with a PVH note here, a Linux bzImage in [`bzimage`]. Nothing in the image is believed.

use super::bzimage::{self, BzImageError};
use super::layout::HIGH_RAM;
use super::rom::{self, RomError};
use super::{GuestMemory, MemoryError};
use crate::addr::GuestPhys;
use crate::virt::LongEntry;
use core::ops::Range;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::note::{Note, NoteIterator};
use elf::segment::ProgramHeader;
use spec::pvh;

/// Most program headers that an image may have.
pub const MAX_SEGMENTS: usize = 64;

/// Why an image was not loaded. The configuration's fault: it names the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Not ELF, or its headers are cut off.
    #[error("the image is not an ELF file, or its headers are cut off; build it for x86_64-unknown-none")]
    NotElf,
    /// ELF of another kind.
    #[error("the image is ELF, but not for 64-bit x86; build it for x86_64-unknown-none")]
    WrongMachine,
    /// More program headers than anyone needs.
    #[error("the image has {count} program headers, more than {MAX_SEGMENTS}")]
    TooManySegments {
        /// How many.
        count: usize,
    },
    /// A segment's bytes are not in the file, or are more than its memory.
    #[error("the segment for physical address {address:#x} is cut off; build the image again")]
    Truncated {
        /// Where it was to go.
        address: u64,
    },
    /// A segment does not fit into RAM.
    #[error(
        "the segment of {size:#x} bytes at physical address {address:#x} is not in RAM (0 to 0xa0000, 0x100000 to {ram:#x}); link it elsewhere or give the guest more memory"
    )]
    OutsideRam {
        /// Where it was to go.
        address: u64,
        /// Bytes.
        size: u64,
        /// Size of the guest's memory.
        ram: u64,
    },
    /// There is nothing to load.
    #[error("the image has no segment to load")]
    Empty,
    /// No entry for PVH.
    #[error("the image has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY); link one in, as the `pvh` crate does")]
    NoNote,
    /// The entry is not in what was loaded.
    #[error("the PVH entry {entry:#x} is not inside a segment of the image")]
    Entry {
        /// The entry.
        entry: u64,
    },
    /// The initial file system does not fit.
    #[error(
        "the initrd of {size:#x} bytes does not fit into memory above {above:#x}; give the guest more `memory`"
    )]
    Initrd {
        /// Bytes.
        size: usize,
        /// First byte that it may use.
        above: u64,
    },
    /// A bzImage.
    #[error(transparent)]
    BzImage(#[from] BzImageError),
    /// The boot information does not fit.
    #[error(transparent)]
    Rom(#[from] RomError),
}

/// What the guest's boot information is made of.
#[derive(Clone, Copy, Debug)]
pub struct BootParameters<'a> {
    /// Command line.
    pub command_line: &'a str,
    /// CPUs, 1 to [`MAX_CPUS`](super::apic::MAX_CPUS).
    pub cpus: u8,
    /// Initial file system; empty where there is none.
    pub initrd: &'a [u8],
    /// Frequency of the time-stamp counter, in kHz.
    pub tsc_khz: u64,
}

/// Where and how CPU 0 starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In 32-bit protected mode.
    Protected(EntryState),
    /// In 64-bit mode.
    Long(LongEntry),
}

/// The state in which CPU 0 starts: 32-bit protected mode, paging off, flat segments, interrupts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// EIP.
    pub eip: u32,
    /// EBX: guest physical address of `hvm_start_info`.
    pub ebx: u32,
}

/// Loads `image` and the boot information into `memory`, which the caller has wiped.
///
/// # Errors
/// [`LoadError`]; memory may hold part of the image then.
pub fn load(image: &[u8], parameters: BootParameters<'_>, memory: &GuestMemory) -> Result<Entry, LoadError> {
    if bzimage::is_one(image) {
        bzimage::load(image, parameters, memory).map(Entry::Long)
    } else {
        load_elf(image, parameters, memory).map(Entry::Protected)
    }
}

/// The end of `size` bytes from `at`, or of all addresses.
pub(super) const fn above(at: u64, size: u64) -> u64 {
    at.saturating_add(size)
}

/// Copies the initial file system to the top of RAM, but below `end`, on a page of its own. Says where it is.
///
/// # Errors
/// It does not fit between `above` and there.
pub(super) fn top_of_ram(
    memory: &GuestMemory,
    initrd: &[u8],
    end: u64,
    above: u64,
) -> Result<u64, LoadError> {
    let size = initrd.len();
    if size == 0 {
        return Ok(0);
    }
    let full = LoadError::Initrd { size, above };
    let at = memory.size().min(end).checked_sub(size as u64).ok_or(full)? & !0xfff;
    if at < above.max(HIGH_RAM) {
        return Err(full);
    }
    memory.write(GuestPhys(at), initrd).map_err(|_| full)?;
    Ok(at)
}

/// Loads an ELF image with a PVH note.
fn load_elf(
    image: &[u8],
    parameters: BootParameters<'_>,
    memory: &GuestMemory,
) -> Result<EntryState, LoadError> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(|_| LoadError::NotElf)?;
    if file.ehdr.class != Class::ELF64 || file.ehdr.e_machine != EM_X86_64 {
        return Err(LoadError::WrongMachine);
    }
    let segments = file.segments().ok_or(LoadError::Empty)?;
    if segments.len() > MAX_SEGMENTS {
        return Err(LoadError::TooManySegments {
            count: segments.len(),
        });
    }
    let loads = || {
        segments
            .iter()
            .filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0)
    };
    if loads().next().is_none() {
        return Err(LoadError::Empty);
    }
    for (number, segment) in loads().enumerate() {
        let overlaps = loads().take(number).any(|earlier| meet(&earlier, &segment));
        load_segment(image, &segment, memory, overlaps)?;
    }
    let entry = segments
        .iter()
        .filter(|segment| segment.p_type == PT_NOTE)
        .find_map(|segment| pvh_entry(file_range(image, &segment)?))
        .ok_or(LoadError::NoNote)?;
    let inside = |segment: ProgramHeader| {
        (segment.p_paddr..segment.p_paddr.saturating_add(segment.p_memsz)).contains(&entry)
    };
    let eip = u32::try_from(entry)
        .ok()
        .filter(|_| loads().any(inside))
        .ok_or(LoadError::Entry { entry })?;
    let end = loads()
        .map(|segment| above(segment.p_paddr, segment.p_memsz))
        .max();
    let at = top_of_ram(memory, parameters.initrd, u64::MAX, end.unwrap_or(HIGH_RAM))?;
    let module = (at != 0).then_some((at, parameters.initrd.len() as u64));
    let rom = rom::build(parameters, memory.size(), module)?;
    rom.load(memory)?;
    Ok(EntryState {
        eip,
        ebx: rom.start_info,
    })
}

fn file_range<'a>(image: &'a [u8], segment: &ProgramHeader) -> Option<&'a [u8]> {
    let start = usize::try_from(segment.p_offset).ok()?;
    let end = start.checked_add(usize::try_from(segment.p_filesz).ok()?)?;
    image.get(Range { start, end })
}

fn meet(a: &ProgramHeader, b: &ProgramHeader) -> bool {
    a.p_paddr < b.p_paddr.saturating_add(b.p_memsz) && b.p_paddr < a.p_paddr.saturating_add(a.p_memsz)
}

/// Writes a segment. What it has beyond its bytes in the file is zero already, unless it `overlaps` an earlier one.
fn load_segment(
    image: &[u8],
    segment: &ProgramHeader,
    memory: &GuestMemory,
    overlaps: bool,
) -> Result<(), LoadError> {
    let (address, size) = (segment.p_paddr, segment.p_memsz);
    let cut = LoadError::Truncated { address };
    let bytes = file_range(image, segment).ok_or(cut)?;
    if segment.p_filesz > size {
        return Err(cut);
    }
    let outside = |_: MemoryError| LoadError::OutsideRam {
        address,
        size,
        ram: memory.size(),
    };
    // All of it must fit into one piece of RAM, so it is checked before a byte is written.
    let whole = usize::try_from(size).unwrap_or(usize::MAX);
    memory.check(GuestPhys(address), whole).map_err(outside)?;
    if overlaps {
        memory.zero(GuestPhys(address), whole).map_err(outside)?;
    }
    memory.write(GuestPhys(address), bytes).map_err(outside)?;
    Ok(())
}

/// The entry point in a note segment. Notes have 32-bit fields in ELF64 too, so they are read as the library reads
/// those of ELF32; names and contents are padded to 4 bytes.
fn pvh_entry(notes: &[u8]) -> Option<u64> {
    NoteIterator::new(LittleEndian, Class::ELF32, 4, notes).find_map(|note| match note {
        Note::Unknown(note) if note.n_type == pvh::NOTE_PHYS32_ENTRY && note.name == pvh::NOTE_NAME => {
            match *note.desc {
                [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d]).into()),
                [a, b, c, d, e, f, g, h] => Some(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
                _ => None,
            }
        }
        _ => None,
    })
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
