//! Whether a disk image holds an ext4 file system that was used and left in order, by its superblock (Linux,
//! `Documentation/filesystems/ext4/super.rst`).

use std::io::{Read, Seek, SeekFrom};

use crc::{CRC_32_ISCSI, Crc};

/// Where it begins, and how long it is, in bytes.
const AT: u64 = 1024;
const SIZE: usize = 1024;

const BLOCKS: usize = 0x04;
const LOG_BLOCK: usize = 0x18;
const MOUNTS: usize = 0x34;
const MAGIC: usize = 0x38;
const STATE: usize = 0x3a;
const INCOMPATIBLE: usize = 0x60;
const READ_ONLY_COMPATIBLE: usize = 0x64;
const CHECKSUM: usize = 0x3fc;

const MAGIC_VALUE: u16 = 0xef53;
/// State: unmounted in order, no errors found.
const CLEAN: u16 = 1;
/// Incompatible features: the journal is to be replayed first.
const RECOVER: u32 = 4;
/// Read-only compatible features: metadata has checksums.
const METADATA_CHECKSUMS: u32 = 0x400;

/// What is wrong with a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ext4Error {
    /// None is there.
    #[error("it holds no ext4 file system")]
    Missing,
    /// The superblock changed after it was written.
    #[error("the checksum of its superblock does not hold")]
    Checksum,
    /// Not unmounted, or errors were found.
    #[error("its file system was not left in order (state {state:#x})")]
    Dirty {
        /// As the superblock has it.
        state: u16,
    },
    /// Larger than the disk.
    #[error("its file system has {bytes} bytes, more than the disk")]
    Size {
        /// Of the file system.
        bytes: u64,
    },
    /// Made and then never mounted.
    #[error("its file system was never used")]
    Unused,
}

/// Looks at the image `file` of `size` bytes. The outer error is that it cannot be read.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn check(file: &mut (impl Read + Seek), size: u64) -> std::io::Result<Result<(), Ext4Error>> {
    let mut block = [0; SIZE];
    file.seek(SeekFrom::Start(AT))?;
    file.read_exact(&mut block)?;
    Ok(superblock(&block, size))
}

fn superblock(block: &[u8; SIZE], size: u64) -> Result<(), Ext4Error> {
    let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
    if half(MAGIC) != MAGIC_VALUE {
        return Err(Ext4Error::Missing);
    }
    // The file system's CRC-32C is not inverted at its end, the usual one is.
    let sum = !Crc::<u32>::new(&CRC_32_ISCSI).checksum(&block[..CHECKSUM]);
    if word(READ_ONLY_COMPATIBLE) & METADATA_CHECKSUMS == 0 || sum != word(CHECKSUM) {
        return Err(Ext4Error::Checksum);
    }
    let state = half(STATE);
    if state != CLEAN || word(INCOMPATIBLE) & RECOVER != 0 {
        return Err(Ext4Error::Dirty { state });
    }
    let bytes = u64::from(word(BLOCKS)) << (10 + word(LOG_BLOCK).min(6));
    if bytes == 0 || bytes > size {
        return Err(Ext4Error::Size { bytes });
    }
    if half(MOUNTS) == 0 {
        return Err(Ext4Error::Unused);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(block: &mut [u8; SIZE], at: usize, bytes: &[u8]) {
        block[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = !Crc::<u32>::new(&CRC_32_ISCSI).checksum(&block[..CHECKSUM]);
        block[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    }

    fn good() -> [u8; SIZE] {
        let mut block = [0; SIZE];
        for (at, bytes) in [
            (BLOCKS, &[0, 8, 0, 0][..]),
            (MOUNTS, &[1, 0]),
            (MAGIC, &[0x53, 0xef]),
            (STATE, &[1, 0]),
            (READ_ONLY_COMPATIBLE, &[0, 4, 0, 0]),
        ] {
            put(&mut block, at, bytes);
        }
        block
    }

    #[test]
    fn a_file_system_that_was_used_and_left_in_order_holds() {
        assert_eq!(superblock(&good(), 2 << 20), Ok(()));
    }

    #[test]
    fn each_fault_has_its_name() {
        let changed = |at, bytes: &[u8]| {
            let mut block = good();
            put(&mut block, at, bytes);
            superblock(&block, 2 << 20)
        };
        assert_eq!(superblock(&[0; SIZE], 2 << 20), Err(Ext4Error::Missing));
        assert_eq!(changed(STATE, &[3, 0]), Err(Ext4Error::Dirty { state: 3 }));
        assert_eq!(changed(INCOMPATIBLE, &[4]), Err(Ext4Error::Dirty { state: 1 }));
        assert_eq!(changed(MOUNTS, &[0]), Err(Ext4Error::Unused));
        assert_eq!(changed(LOG_BLOCK, &[2]), Err(Ext4Error::Size { bytes: 8 << 20 }));
        assert_eq!(changed(READ_ONLY_COMPATIBLE, &[0, 0]), Err(Ext4Error::Checksum));
        let mut block = good();
        block[900] ^= 1;
        assert_eq!(superblock(&block, 2 << 20), Err(Ext4Error::Checksum));
    }

    #[test]
    fn a_short_image_cannot_be_read() {
        assert!(check(&mut std::io::Cursor::new(vec![0; 1500]), 1500).is_err());
        let none = check(&mut std::io::Cursor::new(vec![0; 4096]), 4096).expect("it reads");
        assert_eq!(none, Err(Ext4Error::Missing));
    }
}
