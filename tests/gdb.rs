//! Reaches into a machine at its hypervisor's first instruction, through QEMU's GDB stub.
//!
//! QEMU repairs the checksums of the ACPI tables that it is given, so the only way to a table with a bad checksum is
//! to break it in memory after the firmware put it there and before the hypervisor reads it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use boot::session::Session;

/// Longest wait for the stub, and for the machine to reach its entry.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that one request reads.
const CHUNK: u64 = 1024;

/// The end of the demo machine's RAM, below which the firmware puts its tables.
const TABLES: std::ops::Range<u64> = (1 << 30) - (256 << 10)..1 << 30;

/// Makes `session` wait for [`break_table`] and breaks the checksum of the ACPI table `signature` there.
/// The result, once the run is over, says whether that was done.
pub fn break_table(
    session: &mut Session,
    socket: PathBuf,
    signature: &str,
) -> JoinHandle<anyhow::Result<()>> {
    let gdb = format!("unix:{},server=on,wait=off", socket.display());
    session.machine.qemu.extend(["-S".into(), "-gdb".into(), gdb]);
    let (kernel, signature) = (session.kernel.clone(), signature.to_owned());
    std::thread::spawn(move || {
        let mut gdb = Gdb::connect(&socket)?;
        let done = gdb.break_checksum(&kernel, signature.as_bytes());
        // Detached, the machine runs on; after a failure it must not wait for anybody.
        gdb.ask(if done.is_ok() { "D" } else { "k" })?;
        done
    })
}

/// The PVH entry point: the four bytes behind the note's name, in the note of type 18.
fn entry(kernel: &Path) -> anyhow::Result<u64> {
    let bytes = std::fs::read(kernel)?;
    let note = [18u32.to_le_bytes(), *b"Xen\0"].concat();
    let at = bytes
        .windows(8)
        .position(|window| window == note)
        .context("the kernel has a PVH note")?
        + 8;
    let entry = bytes.get(at..at + 4).context("the note has an entry")?;
    Ok(u64::from(u32::from_le_bytes(entry.try_into()?)))
}

/// A connection to the stub, which speaks GDB's remote serial protocol.
struct Gdb(UnixStream);

impl Gdb {
    fn connect(socket: &Path) -> anyhow::Result<Self> {
        let end = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    return Ok(Self(stream));
                }
                Err(error) if Instant::now() > end => return Err(error).context("QEMU's GDB stub"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Sends one command and gives its reply.
    fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        let sum = command.bytes().fold(0u8, u8::wrapping_add);
        write!(self.0, "${command}#{sum:02x}")?;
        let mut reply = Vec::new();
        let mut byte = [0];
        loop {
            self.0
                .read_exact(&mut byte)
                .with_context(|| format!("the stub's reply to {command}"))?;
            match byte[0] {
                b'+' | b'$' if reply.is_empty() => {}
                b'#' => break,
                other => reply.push(other),
            }
        }
        self.0.read_exact(&mut [0; 2])?;
        self.0.write_all(b"+")?;
        Ok(String::from_utf8(reply)?)
    }

    fn break_checksum(&mut self, kernel: &Path, signature: &[u8]) -> anyhow::Result<()> {
        self.run_to(entry(kernel)?)?;
        let table = self.find(signature)?;
        // Byte 9 of every table header is its checksum (ACPI 6.5, section 5.2.6).
        let checksum = self.read(table + 9, 1)?;
        self.write(table + 9, checksum.first().copied().unwrap_or(0) ^ 0x55)
    }

    fn run_to(&mut self, address: u64) -> anyhow::Result<()> {
        ensure!(
            self.ask(&format!("Z1,{address:x},1"))? == "OK",
            "a hardware breakpoint is possible"
        );
        let stopped = self.ask("c")?;
        ensure!(
            stopped.starts_with('T') || stopped.starts_with('S'),
            "it stops at {address:#x}: {stopped}"
        );
        ensure!(
            self.ask(&format!("z1,{address:x},1"))? == "OK",
            "the breakpoint goes away"
        );
        Ok(())
    }

    fn read(&mut self, address: u64, len: u64) -> anyhow::Result<Vec<u8>> {
        let hex = self.ask(&format!("m{address:x},{len:x}"))?;
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        hex.as_bytes()
            .chunks(2)
            .map(byte)
            .collect::<Option<Vec<u8>>>()
            .with_context(|| format!("{address:#x}: {hex}"))
    }

    fn write(&mut self, address: u64, value: u8) -> anyhow::Result<()> {
        ensure!(
            self.ask(&format!("M{address:x},1:{value:02x}"))? == "OK",
            "{address:#x} is written"
        );
        Ok(())
    }

    /// The table with this signature whose header is plausible.
    fn find(&mut self, signature: &[u8]) -> anyhow::Result<u64> {
        let mut tables = Vec::new();
        for address in TABLES.step_by(usize::try_from(CHUNK)?) {
            tables.extend(self.read(address, CHUNK)?);
        }
        for (at, window) in tables.windows(36).enumerate() {
            let len = u32::from_le_bytes(window[4..8].try_into()?) as usize;
            let sum = tables
                .get(at..at + len)
                .map(|table| table.iter().copied().fold(0, u8::wrapping_add));
            if window.starts_with(signature) && len >= 36 && sum == Some(0) {
                return Ok(TABLES.start + at as u64);
            }
        }
        bail!("no table {} in memory", String::from_utf8_lossy(signature))
    }
}
