//! The other end of a machine's network: what a guest reaches there, and what came of it.
//!
//! QEMU's user network shows the guest a DHCP server and one address with one port, behind which is a socket of this
//! process; nothing else of the host or of the world. `cohort_abi::exchange` says what is spoken.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use cohort_abi::disk::{self, Kind, SECTOR_SIZE, SectorError};
use cohort_abi::exchange::{CONFIRMED, HELLO, REFUSED, SECTORS};

/// Why a network did not show what it had to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nobody asked, or nobody finished.
    #[error("no transfer was finished")]
    Unused,
    /// The guest spoke of something else.
    #[error("the guest does not begin with what it must")]
    Hello,
    /// What came back is not what had to come.
    #[error("of what the guest sent, {0}")]
    Sector(#[from] SectorError),
    /// The stream broke.
    #[error("the transfer broke off: {0}")]
    Broken(ErrorKind),
}

/// A peer at work.
#[derive(Debug)]
pub struct Peer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), PeerError>>,
}

impl Peer {
    /// Listens at a socket that is made at `path`. What it sends has `seed`.
    ///
    /// # Errors
    /// Where no socket can be made there.
    pub fn listen(path: &Path, seed: u64) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(path).with_context(|| {
            format!(
                "cannot make the socket {} (at most 107 bytes); set TMPDIR to a folder with a short name",
                path.display()
            )
        })?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            loop {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        // QEMU connects once, when it starts, and lets go when it ends.
                        let blocking = stream.set_nonblocking(false);
                        blocking.map_err(|error| PeerError::Broken(error.kind()))?;
                        return serve(&mut stream, seed);
                    }
                    Err(_) if stopped.load(Ordering::Relaxed) => return Err(PeerError::Unused),
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        let path = path.to_path_buf();
        Ok(Self { path, stop, thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What came of it. QEMU has ended.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn finish(self) -> Result<(), PeerError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or(Err(PeerError::Broken(ErrorKind::Other)))
    }
}

/// Serves one transfer after the other, until the stream ends between two or something is wrong.
fn serve(stream: &mut (impl Read + Write), seed: u64) -> Result<(), PeerError> {
    let broken = |error: std::io::Error| PeerError::Broken(error.kind());
    let mut supplied = vec![0; SECTORS as usize * SECTOR_SIZE];
    for (index, sector) in (0..).zip(supplied.as_chunks_mut::<SECTOR_SIZE>().0) {
        disk::fill(sector, Kind::Supplied, index, seed);
    }
    let mut finished = 0;
    loop {
        let mut hello = [0; HELLO.len()];
        match stream.read(&mut hello[..1]) {
            Ok(0) if finished > 0 => return Ok(()),
            Ok(0) => return Err(PeerError::Unused),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        }
        stream.read_exact(&mut hello[1..]).map_err(broken)?;
        if hello != HELLO {
            return Err(PeerError::Hello);
        }
        stream.write_all(&supplied).map_err(broken)?;
        let mut returned = vec![0; supplied.len()];
        stream.read_exact(&mut returned).map_err(broken)?;
        let sectors = (0..).zip(returned.as_chunks::<SECTOR_SIZE>().0);
        let checked = sectors
            .into_iter()
            .try_for_each(|(index, sector)| disk::check(sector, Kind::Written, index, seed));
        let answer = if checked.is_ok() { CONFIRMED } else { REFUSED };
        stream.write_all(&[answer]).map_err(broken)?;
        checked?;
        finished += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// A guest that does as it should, but for `spoil`.
    fn guest(stream: &mut UnixStream, hello: &[u8], spoil: impl FnOnce(&mut Vec<u8>)) -> Option<u8> {
        stream.write_all(hello).ok()?;
        let mut bytes = vec![0; SECTORS as usize * SECTOR_SIZE];
        stream.read_exact(&mut bytes).ok()?;
        for (index, sector) in (0..).zip(bytes.as_chunks_mut::<SECTOR_SIZE>().0) {
            let seed = disk::seed_of(sector);
            disk::check(sector, Kind::Supplied, index, seed).ok()?;
            disk::fill(sector, Kind::Written, index, seed);
        }
        spoil(&mut bytes);
        stream.write_all(&bytes).ok()?;
        let mut answer = [0];
        stream.read_exact(&mut answer).ok().map(|()| answer[0])
    }

    fn run(talk: impl FnOnce(&mut UnixStream)) -> Result<(), PeerError> {
        let folder = tempfile::tempdir().expect("a folder");
        let peer = Peer::listen(&folder.path().join("peer"), 99).expect("it listens");
        let mut stream = UnixStream::connect(peer.path()).expect("it connects");
        talk(&mut stream);
        drop(stream);
        peer.finish()
    }

    #[test]
    fn transfers_hold_when_everything_came() {
        let done = run(|stream| {
            for _ in 0..2 {
                assert_eq!(guest(stream, &HELLO, |_| {}), Some(CONFIRMED));
            }
        });
        assert_eq!(done, Ok(()));
    }

    #[test]
    fn whatever_is_wrong_shows() {
        let wrong = run(|stream| {
            let spoil = |bytes: &mut Vec<u8>| bytes[100_000] ^= 1;
            assert_eq!(guest(stream, &HELLO, spoil), Some(REFUSED));
        });
        assert_eq!(
            wrong,
            Err(PeerError::Sector(SectorError::Contents { index: 195 }))
        );
        let odd = run(|stream| {
            assert_eq!(guest(stream, b"GET / HT", |_| {}), None);
        });
        assert_eq!(odd, Err(PeerError::Hello));
        let short = run(|stream| stream.write_all(&HELLO).expect("it is written"));
        assert!(matches!(short, Err(PeerError::Broken(_))), "{short:?}");
        assert_eq!(run(|_| {}), Err(PeerError::Unused));
    }

    #[test]
    fn a_peer_that_nobody_calls_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let peer = Peer::listen(&folder.path().join("peer"), 1).expect("it listens");
        assert_eq!(peer.finish(), Err(PeerError::Unused));
        let long = folder.path().join("x".repeat(200));
        assert!(Peer::listen(&long, 1).is_err());
    }
}
