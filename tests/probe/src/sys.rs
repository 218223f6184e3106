//! Linux system calls (x86-64: number in RAX, arguments in RDI, RSI, RDX, R10, R8, R9; Linux, `syscall(2)`).
#![expect(unsafe_code, reason = "system calls")]

use crate::failure::Failure;
use core::arch::asm;
use core::fmt;

const READ: usize = 0;
const WRITE: usize = 1;
const OPEN: usize = 2;
const CLOSE: usize = 3;
const LSEEK: usize = 8;
const MMAP: usize = 9;
const PREAD: usize = 17;
const PWRITE: usize = 18;
const SOCKET: usize = 41;
const CONNECT: usize = 42;
const SETSOCKOPT: usize = 54;
const FSYNC: usize = 74;

const O_RDWR: usize = 2;
/// Past the page cache, to the device.
const O_DIRECT: usize = 0o40_000;
const SEEK_END: usize = 2;
const PROT_READ_WRITE: usize = 3;
const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
const AF_INET: usize = 2;
const SOCK_STREAM: usize = 1;
const SOL_SOCKET: usize = 1;
const SO_RCVTIMEO: usize = 20;
const SO_SNDTIMEO: usize = 21;
/// Seconds after which a network that does not answer has failed.
const PATIENCE: u64 = 20;

/// Bytes of the buffer for disks and streams.
pub(crate) const BUFFER: usize = 1 << 20;

/// Memory of that many bytes, zeroed and aligned as O_DIRECT wants it on any disk. It stays until the end.
pub(crate) fn buffer() -> Result<&'static mut [u8; BUFFER], Failure> {
    // SAFETY: no pointers; nothing is replaced.
    let mapped = unsafe {
        call6(
            MMAP,
            [0, BUFFER, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0],
        )
    };
    let at = result("mmap", mapped)? as *mut [u8; BUFFER];
    // SAFETY: the kernel made it just now for this caller alone, readable and writable, that long and for ever.
    Ok(unsafe { &mut *at })
}

/// # Safety
/// Pointers among the arguments must be valid for what the call does with them.
unsafe fn call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    // SAFETY: as the caller says.
    unsafe { call6(number, [a, b, c, d, e, 0]) }
}

/// # Safety
/// As for [`call`].
unsafe fn call6(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but RAX, RCX and R11; the caller answers for memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// The result of the call `name`, or its error.
fn result(name: &'static str, value: isize) -> Result<usize, Failure> {
    usize::try_from(value).map_err(|_| Failure::System(name, -value as i32))
}

/// An open file, closed when dropped.
#[derive(Debug)]
pub(crate) struct File(usize);

impl File {
    /// Opens a disk past the page cache.
    pub(crate) fn disk(path: &str) -> Result<Self, Failure> {
        let mut name = [0; 256];
        name.get_mut(..path.len())
            .filter(|_| path.len() < 256)
            .ok_or(Failure::Usage)?
            .copy_from_slice(path.as_bytes());
        let arguments = [name.as_ptr() as usize, O_RDWR | O_DIRECT, 0, 0, 0];
        // SAFETY: the name ends with a zero.
        result("open", unsafe { call(OPEN, arguments) }).map(Self)
    }

    /// Connects to a TCP server. What takes longer than [`PATIENCE`] is an error from then on.
    pub(crate) fn connect(address: [u8; 4], port: u16) -> Result<Self, Failure> {
        // SAFETY: no pointers.
        let socket = unsafe { call(SOCKET, [AF_INET, SOCK_STREAM, 0, 0, 0]) };
        let file = result("socket", socket).map(Self)?;
        let timeval = [PATIENCE, 0];
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            let arguments = [
                file.0,
                SOL_SOCKET,
                option,
                timeval.as_ptr() as usize,
                size_of_val(&timeval),
            ];
            // SAFETY: the option is a `timeval`, which is that long.
            result("setsockopt", unsafe { call(SETSOCKOPT, arguments) })?;
        }
        // `sockaddr_in`: family, port and address in network order, padding.
        let mut name = [0; 16];
        name[0] = AF_INET as u8;
        name[2..4].copy_from_slice(&port.to_be_bytes());
        name[4..8].copy_from_slice(&address);
        let arguments = [file.0, name.as_ptr() as usize, name.len(), 0, 0];
        // SAFETY: the name is that long.
        result("connect", unsafe { call(CONNECT, arguments) })?;
        Ok(file)
    }

    /// Bytes of a disk.
    pub(crate) fn size(&self) -> Result<u64, Failure> {
        // SAFETY: no pointers.
        result("lseek", unsafe { call(LSEEK, [self.0, 0, SEEK_END, 0, 0]) }).map(|size| size as u64)
    }

    /// Fills `bytes` from the disk at `at`.
    pub(crate) fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<(), Failure> {
        let arguments = [self.0, bytes.as_mut_ptr() as usize, bytes.len(), at as usize, 0];
        // SAFETY: the kernel writes at most the slice.
        let read = result("pread", unsafe { call(PREAD, arguments) })?;
        if read == bytes.len() {
            Ok(())
        } else {
            Err(Failure::Short("a read of the disk"))
        }
    }

    /// Writes `bytes` to the disk at `at`.
    pub(crate) fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), Failure> {
        let arguments = [self.0, bytes.as_ptr() as usize, bytes.len(), at as usize, 0];
        // SAFETY: the kernel reads at most the slice.
        let written = result("pwrite", unsafe { call(PWRITE, arguments) })?;
        if written == bytes.len() {
            Ok(())
        } else {
            Err(Failure::Short("a write of the disk"))
        }
    }

    /// Has the disk keep what was written.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        // SAFETY: no pointers.
        result("fsync", unsafe { call(FSYNC, [self.0, 0, 0, 0, 0]) }).map(drop)
    }

    /// Fills `bytes` from a stream.
    pub(crate) fn read(&self, mut bytes: &mut [u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let arguments = [self.0, bytes.as_mut_ptr() as usize, bytes.len(), 0, 0];
            // SAFETY: the kernel writes at most the slice.
            let read = result("read", unsafe { call(READ, arguments) })?;
            bytes = bytes
                .get_mut(read..)
                .filter(|_| read != 0)
                .ok_or(Failure::Short("the stream"))?;
        }
        Ok(())
    }

    /// Writes `bytes` to a stream.
    pub(crate) fn write(&self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let arguments = [self.0, bytes.as_ptr() as usize, bytes.len(), 0, 0];
            // SAFETY: the kernel reads at most the slice.
            let written = result("write", unsafe { call(WRITE, arguments) })?;
            bytes = bytes
                .get(written..)
                .filter(|_| written != 0)
                .ok_or(Failure::Short("the stream"))?;
        }
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: no pointers, and nobody uses the number any more.
        unsafe { call(CLOSE, [self.0, 0, 0, 0, 0]) };
    }
}

/// Standard output.
pub(crate) struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let output = core::mem::ManuallyDrop::new(File(1));
        output.write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// The time-stamp counter.
pub(crate) fn ticks() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// CPUID's EAX, EBX, ECX and EDX for `leaf` and `subleaf`.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let found = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}
