//! Whether a file can be a guest (or the hypervisor): an ELF64 for x86-64 with a PVH note.

use std::path::Path;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::note::Note;

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

/// Checks an image in memory.
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
    fn no_truncation_panics() {
        let whole = elf(&[0xf4], true);
        for len in 0..whole.len() - 1 {
            assert!(check(&whole[..len]).is_err() || len > 64 + 2 * 56 + 23, "{len}");
        }
    }
}
