//! Disk images for the machine: filled before a run, verified after it.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use cohort_abi::disk::{self, Kind, SECTOR_SIZE, SectorError, WRITTEN};

use crate::config::{Disk, DiskUse};
use crate::ext4::{self, Ext4Error};

/// Why a disk is not as it must be after a run.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The image cannot be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// The image.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A sector that the guest had to write does not hold what it had to write.
    #[error("disk `{disk}`: guest `{guest}` had to write sectors {} to {}, but {error}", WRITTEN.start, WRITTEN.end - 1)]
    NotWritten {
        /// The disk.
        disk: String,
        /// The guest that had to write it.
        guest: String,
        /// What is wrong with the first such sector.
        error: SectorError,
    },
    /// The file system that the guest had to make.
    #[error("disk `{disk}`: guest `{guest}` had to leave an ext4 file system, but {error}")]
    Filesystem {
        /// The disk.
        disk: String,
        /// The guest that had to make it.
        guest: String,
        /// What is wrong with it.
        error: Ext4Error,
    },
    /// A sector changed that nobody may have touched.
    #[error("disk `{disk}` changed where nothing may have been written: {error}")]
    Changed {
        /// The disk.
        disk: String,
        /// What is wrong with the first such sector.
        error: SectorError,
    },
}

/// Makes the image at `path` for `disk`: with sectors of `seed`, or empty for a file system.
///
/// # Errors
/// Where the file cannot be written.
pub fn create(disk: &Disk, path: &Path, seed: u64) -> Result<(), DiskError> {
    let wrap = |error| DiskError::File {
        path: path.into(),
        error,
    };
    if disk.used_as == DiskUse::Ext4 {
        return File::create(path)
            .and_then(|file| file.set_len(disk.size))
            .map_err(wrap);
    }
    let mut file = BufWriter::new(File::create(path).map_err(wrap)?);
    let mut sector = [0; SECTOR_SIZE];
    for index in 0..disk.size / SECTOR_SIZE as u64 {
        disk::fill(&mut sector, Kind::Supplied, index, seed);
        file.write_all(&sector).map_err(wrap)?;
    }
    file.flush().map_err(wrap)
}

/// Verifies the image at `path`. `writer` is the guest that must have written its part, if one must have.
///
/// # Errors
/// The first sector that is not as it must be.
pub fn verify(disk: &Disk, path: &Path, seed: u64, writer: Option<&str>) -> Result<(), DiskError> {
    let wrap = |error| DiskError::File {
        path: path.into(),
        error,
    };
    let mut file = BufReader::new(File::open(path).map_err(wrap)?);
    if disk.used_as == DiskUse::Ext4 {
        let Some(guest) = writer else { return Ok(()) };
        let found = ext4::check(&mut file, disk.size).map_err(wrap)?;
        return found.map_err(|error| DiskError::Filesystem {
            disk: disk.id.clone(),
            guest: guest.into(),
            error,
        });
    }
    let mut sector = [0; SECTOR_SIZE];
    for index in 0..disk.size / SECTOR_SIZE as u64 {
        file.read_exact(&mut sector).map_err(wrap)?;
        let (name, check) = (disk.id.clone(), |kind| disk::check(&sector, kind, index, seed));
        match writer.filter(|_| WRITTEN.contains(&index)) {
            Some(guest) => check(Kind::Written).map_err(|error| DiskError::NotWritten {
                disk: name,
                guest: guest.into(),
                error,
            })?,
            None => check(Kind::Supplied).map_err(|error| DiskError::Changed { disk: name, error })?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn a_file_system_must_be_there_only_if_somebody_had_to_make_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let disk = Disk {
            id: "d".into(),
            size: 1 << 20,
            written_by: Some("g".into()),
            used_as: DiskUse::Ext4,
        };
        create(&disk, &path, 5).expect("it is made");
        assert_eq!(path.metadata().expect("it is there").len(), 1 << 20);
        verify(&disk, &path, 5, None).expect("nobody had to");
        let error = verify(&disk, &path, 5, Some("g")).expect_err("there is none");
        assert!(matches!(error, DiskError::Filesystem { .. }), "{error}");
    }

    #[test]
    fn a_disk_verifies_only_as_it_must_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let disk = Disk {
            id: "d".into(),
            size: 1 << 20,
            written_by: Some("g".into()),
            used_as: DiskUse::Sectors,
        };
        create(&disk, &path, 5).expect("it is made");
        verify(&disk, &path, 5, None).expect("unchanged");
        assert!(matches!(
            verify(&disk, &path, 5, Some("g")),
            Err(DiskError::NotWritten { .. })
        ));

        let file = File::options().write(true).open(&path).expect("it opens");
        let put = |index: u64, at: u64| {
            let mut sector = [0; SECTOR_SIZE];
            disk::fill(&mut sector, Kind::Written, index, 5);
            file.write_all_at(&sector, at * 512).expect("it is written");
        };
        WRITTEN.for_each(|index| put(index, index));
        verify(&disk, &path, 5, Some("g")).expect("as it must be");
        assert!(matches!(
            verify(&disk, &path, 5, None),
            Err(DiskError::Changed { .. })
        ));
        assert!(verify(&disk, &path, 6, Some("g")).is_err(), "another run's seed");
        put(300, 301);
        let error = verify(&disk, &path, 5, Some("g")).expect_err("misplaced");
        assert!(
            error
                .to_string()
                .contains("sector 301 holds the contents of sector 300"),
            "{error}"
        );
        put(301, 301);
        put(600, 600);
        let error = verify(&disk, &path, 5, Some("g")).expect_err("stray write");
        assert!(
            matches!(
                error,
                DiskError::Changed {
                    error: SectorError::Magic { index: 600 },
                    ..
                }
            ),
            "{error}"
        );
    }
}
