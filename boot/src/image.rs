//! Whether a file can be a guest (or the hypervisor): an ELF64 for x86-64 with a PVH note, or (a guest) a Linux bzImage.

use std::ops::Range;
use std::path::Path;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::note::Note;
use spec::linux_boot as boot;

/// `XEN_ELFNOTE_PHYS32_ENTRY` (Xen, `public/elfnote.h`): the 32-bit entry point of the PVH boot protocol.
const PHYS32_ENTRY: u64 = 18;

/// Why a file cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("it cannot be read ({0})")]
    Unreadable(std::io::ErrorKind),
    /// Not an ELF64 file for x86-64.
    #[error("it is not an ELF64 file for x86-64")]
    NotElf,
    /// No PVH entry point.
    #[error("it has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY)")]
    NoPvhNote,
    /// A Linux kernel without a 64-bit entry point.
    #[error("it is a Linux bzImage without a 64-bit entry point")]
    No64BitEntry,
}

impl ImageError {
    /// What to do about it.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Unreadable(_) => "make the file readable, or write another path",
            Self::NotElf => "build it for x86_64-unknown-none, or write a built-in name such as \"storage\"",
            Self::NoPvhNote => {
                "give it a PT_NOTE of 4-byte alignment with the 32-bit entry point (the `pvh` crate does), or use \
                 an ELF vmlinux built with CONFIG_PVH"
            }
            Self::No64BitEntry => "use an x86-64 kernel, 3.8 or later",
        }
    }
}

/// Checks the file at `path`.
///
/// # Errors
/// Why it cannot be run.
pub fn check_file(path: &Path) -> Result<(), ImageError> {
    check(&std::fs::read(path).map_err(|error| ImageError::Unreadable(error.kind()))?)
}

/// Whether an image says of itself that it is a Linux bzImage (Linux, `Documentation/arch/x86/boot.rst`).
#[must_use]
pub fn is_bzimage(bytes: &[u8]) -> bool {
    let here = |at: usize, wanted: &[u8]| bytes.get(at..at + wanted.len()) == Some(wanted);
    here(boot::BOOT_FLAG, &boot::BOOT_FLAG_VALUE.to_le_bytes()) && here(boot::HEADER, &boot::HEADER_VALUE)
}

/// Checks a guest's image in memory. The hypervisor checks more.
///
/// # Errors
/// Why it cannot be run.
pub fn check_guest(bytes: &[u8]) -> Result<(), ImageError> {
    if !is_bzimage(bytes) {
        return check(bytes);
    }
    let number = |at: usize| match bytes.get(at..at + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    };
    if number(boot::VERSION) >= boot::VERSION_XLOADFLAGS
        && number(boot::XLOADFLAGS) & boot::XLF_KERNEL_64 != 0
    {
        Ok(())
    } else {
        Err(ImageError::No64BitEntry)
    }
}

/// Checks a guest's image at `path`.
///
/// # Errors
/// Why it cannot be run.
pub fn check_guest_file(path: &Path) -> Result<(), ImageError> {
    check_guest(&std::fs::read(path).map_err(|error| ImageError::Unreadable(error.kind()))?)
}

/// Checks an ELF image in memory.
///
/// # Errors
/// Why it cannot be run.
pub fn check(bytes: &[u8]) -> Result<(), ImageError> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| ImageError::NotElf)?;
    if elf.ehdr.class != Class::ELF64 || elf.ehdr.e_machine != EM_X86_64 {
        return Err(ImageError::NotElf);
    }
    let segments = elf.segments().ok_or(ImageError::NotElf)?;
    let has_note = segments
        .iter()
        .filter(|segment| segment.p_type == PT_NOTE)
        .any(|segment| {
            elf.segment_data_as_notes(&segment).is_ok_and(|mut notes| {
                notes.any(|note| {
                matches!(note, Note::Unknown(note) if note.n_type == PHYS32_ENTRY && note.name == b"Xen\0")
            })
            })
        });
    if has_note {
        Ok(())
    } else {
        Err(ImageError::NoPvhNote)
    }
}

/// An image, which [`check`] has passed, without what no loader reads: whatever lies behind the last segment (symbols,
/// debug information, the section headers). One that cannot be cut comes back whole.
#[must_use]
pub fn strip(mut bytes: Vec<u8>) -> Vec<u8> {
    let Some(end) = end_of_segments(&bytes) else {
        return bytes;
    };
    // A file cannot end before its own header.
    bytes.truncate(end.max(ELF64_HEADER));
    for field in [E_SHOFF, E_SHENTSIZE_SHNUM_SHSTRNDX] {
        if let Some(field) = bytes.get_mut(field) {
            field.fill(0);
        }
    }
    bytes
}

/// Bytes of an ELF64 file header, and where it names the section headers (System V ABI, ELF header).
const ELF64_HEADER: usize = 64;
const E_SHOFF: Range<usize> = 40..48;
const E_SHENTSIZE_SHNUM_SHSTRNDX: Range<usize> = 58..64;

/// Where the program headers and all that they name end.
fn end_of_segments(bytes: &[u8]) -> Option<usize> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(bytes).ok()?;
    // With more program headers than the field holds, their number stands in a section header.
    if elf.ehdr.e_phnum == u16::MAX {
        return None;
    }
    let headers = u64::from(elf.ehdr.e_phnum) * u64::from(elf.ehdr.e_phentsize);
    let mut end = elf.ehdr.e_phoff.checked_add(headers)?;
    for segment in elf.segments()? {
        end = end.max(segment.p_offset.checked_add(segment.p_filesz)?);
    }
    usize::try_from(end).ok().filter(|end| *end <= bytes.len())
}

/// Bytes of the file that a boot loader loads; 0 where it is not an ELF file.
#[must_use]
pub fn loaded_bytes(bytes: &[u8]) -> u64 {
    let segments = ElfBytes::<LittleEndian>::minimal_parse(bytes)
        .ok()
        .and_then(|elf| elf.segments());
    let loaded = segments
        .into_iter()
        .flatten()
        .filter(|segment| segment.p_type == PT_LOAD);
    loaded.fold(0, |sum, segment| sum.saturating_add(segment.p_filesz))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minimal::elf;

    #[test]
    fn only_a_pvh_elf_passes() {
        assert_eq!(check(&elf(&[0xf4], true)), Ok(()));
        assert_eq!(check(&elf(&[0xf4], false)), Err(ImageError::NoPvhNote));
        assert_eq!(check(b"#!/bin/sh\n"), Err(ImageError::NotElf));
        assert_eq!(check(&[]), Err(ImageError::NotElf));
        assert_eq!(loaded_bytes(&elf(&[0xf4, 0xf4], true)), 2);
        let mut arm = elf(&[0xf4], true);
        arm[18] = 183;
        assert_eq!(check(&arm), Err(ImageError::NotElf));
    }

    #[test]
    fn a_bzimage_is_told_from_an_old_one() {
        let mut kernel = vec![0; 0x300];
        kernel[boot::BOOT_FLAG..][..2].copy_from_slice(&[0x55, 0xaa]);
        kernel[boot::HEADER..][..4].copy_from_slice(b"HdrS");
        kernel[boot::VERSION..][..2].copy_from_slice(&[0x0f, 2]);
        assert_eq!(check_guest(&kernel), Err(ImageError::No64BitEntry));
        kernel[boot::XLOADFLAGS] = 1;
        assert_eq!(check_guest(&kernel), Ok(()));
        assert_eq!(
            check(&kernel),
            Err(ImageError::NotElf),
            "the hypervisor is no Linux"
        );
        assert_eq!(check_guest(&kernel[..0x206]), Err(ImageError::No64BitEntry));
        kernel[boot::VERSION] = 0x0b;
        assert_eq!(check_guest(&kernel), Err(ImageError::No64BitEntry));
        assert_eq!(check_guest(&elf(&[0xf4], true)), Ok(()));
    }

    #[test]
    fn stripping_keeps_what_is_loaded_and_nothing_behind_it() {
        let whole = elf(&[0xf4, 0xf4], true);
        let mut padded = whole.clone();
        padded.extend([0xaa; 5000]);
        // Three section headers of 64 bytes in the padding.
        padded[E_SHOFF][0] = 250;
        (padded[58], padded[60]) = (64, 3);
        let stripped = strip(padded);
        assert_eq!(check(&stripped), Ok(()));
        assert!(stripped.len() <= whole.len() && !stripped.contains(&0xaa));
        assert_eq!(loaded_bytes(&stripped), loaded_bytes(&whole));
        assert!(stripped[E_SHOFF].iter().all(|byte| *byte == 0) && stripped[60] == 0);
        assert_eq!(strip(stripped.clone()), stripped);
        // A segment that is cut off is for the loader to refuse, not for this to hide.
        let cut = whole[..whole.len() - 1].to_vec();
        assert_eq!(strip(cut.clone()), cut);
    }

    #[test]
    fn no_truncation_panics() {
        let whole = elf(&[0xf4], true);
        for len in 0..whole.len() - 1 {
            let _ = strip(whole[..len].to_vec());
            assert!(check(&whole[..len]).is_err() || len > 64 + 2 * 56 + 23, "{len}");
        }
    }
}
