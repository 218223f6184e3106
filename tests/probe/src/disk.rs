//! A disk that proves what it holds: `cohort_abi::disk` says how.

use crate::failure::Failure;
use crate::sys::{self, File, Output};
use cohort_abi::disk::{self, Kind, SECTOR_SIZE, Sector, WRITTEN};
use core::fmt::Write as _;
use core::ops::Range;

/// Bytes of one read.
const PIECE: usize = 64 << 10;

/// Every sector is as the host supplied it.
pub(crate) fn verify(path: &str) -> Result<(), Failure> {
    let (file, buffer) = (File::disk(path)?, sys::buffer()?);
    let seed = seed(&file, buffer)?;
    let sectors = check(&file, buffer, seed, 0..0)?;
    // The line is for people; the status counts.
    let _ = writeln!(
        Output,
        "{sectors} sectors hold what the host supplied, seed {seed:#x}"
    );
    Ok(())
}

/// Writes the guest's part, flushes, and reads the whole disk back.
pub(crate) fn write(path: &str) -> Result<(), Failure> {
    let (file, buffer) = (File::disk(path)?, sys::buffer()?);
    let seed = seed(&file, buffer)?;
    for (index, sector) in WRITTEN.zip(buffer.as_chunks_mut::<SECTOR_SIZE>().0) {
        disk::fill(sector, Kind::Written, index, seed);
    }
    let bytes = (WRITTEN.end - WRITTEN.start) as usize * SECTOR_SIZE;
    let written = buffer.get(..bytes).ok_or(Failure::Size(bytes as u64))?;
    for (number, piece) in written.chunks(PIECE).enumerate() {
        let at = WRITTEN.start * SECTOR_SIZE as u64 + (number * PIECE) as u64;
        file.write_at(piece, at)?;
    }
    file.flush()?;
    buffer.fill(0);
    let sectors = check(&file, buffer, seed, WRITTEN)?;
    let _ = writeln!(
        Output,
        "{} sectors written, flushed and read back among {sectors}",
        WRITTEN.end - WRITTEN.start
    );
    Ok(())
}

/// The run's seed, from a first sector that holds.
fn seed(file: &File, buffer: &mut [u8]) -> Result<u64, Failure> {
    let piece = buffer.get_mut(..PIECE).ok_or(Failure::Size(0))?;
    file.read_at(piece, 0)?;
    let first: &Sector = piece.first_chunk().ok_or(Failure::Size(0))?;
    let seed = disk::seed_of(first);
    disk::check(first, Kind::Supplied, 0, seed)?;
    Ok(seed)
}

/// Reads the whole disk: the guest wrote `written` and the host the rest. Gives the number of sectors.
fn check(file: &File, buffer: &mut [u8], seed: u64, written: Range<u64>) -> Result<u64, Failure> {
    let size = file.size()?;
    if size < WRITTEN.end * SECTOR_SIZE as u64 || !size.is_multiple_of(PIECE as u64) {
        return Err(Failure::Size(size));
    }
    let piece = buffer.get_mut(..PIECE).ok_or(Failure::Size(size))?;
    for at in (0..size).step_by(PIECE) {
        file.read_at(piece, at)?;
        for (index, sector) in (at / SECTOR_SIZE as u64..).zip(piece.as_chunks::<SECTOR_SIZE>().0) {
            let kind = if written.contains(&index) {
                Kind::Written
            } else {
                Kind::Supplied
            };
            disk::check(sector, kind, index, seed)?;
        }
    }
    Ok(size / SECTOR_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;

    /// A disk of 1 MiB on a file system that knows O_DIRECT, or `None` where there is none.
    fn image() -> Option<(tempfile::TempDir, PathBuf)> {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let path = folder.path().join("disk");
        let mut bytes = vec![0; 1 << 20];
        for (index, sector) in (0..).zip(bytes.as_chunks_mut::<SECTOR_SIZE>().0) {
            disk::fill(sector, Kind::Supplied, index, 77);
        }
        std::fs::write(&path, bytes).expect("it is written");
        File::disk(path.to_str().expect("text")).ok()?;
        Some((folder, path))
    }

    #[test]
    fn a_disk_holds_until_a_byte_is_wrong() {
        let Some((_folder, path)) = image() else { return };
        let text = path.to_str().expect("text");
        verify(text).expect("as supplied");
        write(text).expect("it can be written");
        assert!(
            matches!(verify(text), Err(Failure::Sector(_))),
            "it is not as supplied"
        );
        write(text).expect("again");
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("it opens");
        file.write_all_at(&[0xee], 1000 * 512 + 99)
            .expect("it is written");
        assert!(matches!(write(text), Err(Failure::Sector(_))));
        file.write_all_at(&[0xee], 20).expect("it is written");
        assert!(matches!(verify(text), Err(Failure::Sector(_))), "no seed");
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        assert!(matches!(verify("/no/such/disk"), Err(Failure::System("open", 2))));
        let long = "/".repeat(300);
        assert_eq!(verify(&long), Err(Failure::Usage));
    }
}
