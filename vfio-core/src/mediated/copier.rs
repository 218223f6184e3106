//! An example of a mediated device: it copies its owner's memory, and keeps a count of copies in a page that it has pinned.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Mediated, MediatedId};
use crate::DeviceId;
use crate::addr::{HostPhys, Iova};
use crate::device::{
    AccessError, Device, IrqAction, IrqError, IrqFlags, IrqInfo, IrqRequest, IrqSink, RegionFlags, RegionInfo,
};
use crate::domain::{Access, DmaError, HostMemory, IovaRange, PinError, SMALLEST};
use crate::fault::Fault;
use crate::lease::{Release, SoftwareDma, UnmapListener};

/// Bytes of the registers.
const REGION: u64 = 0x40;
/// The most bytes of a copy: what bounds how long a write to the command register takes.
const MOST: u32 = 64 << 10;
/// Bytes that are copied at a time.
const PIECE: usize = 256;

/// A register: where it is in region 0. They are little-endian and accessed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Register {
    /// 32 bits, read only: what this is, `COPY` in ASCII.
    Magic = 0x00,
    /// 32 bits, read only: 0 after a reset, 1 after a command that went well, 2 after one that did not.
    Status = 0x04,
    /// 64 bits: from where to copy.
    Source = 0x08,
    /// 64 bits: to where.
    Target = 0x10,
    /// 32 bits: how many bytes, 65,536 at most.
    Length = 0x18,
    /// 32 bits, write only: 1 copies, in ascending order; 2 pins the page at `Record`; 3 unpins it. An interrupt comes
    /// when that is done, well or not.
    Command = 0x1c,
    /// 64 bits, read only: the address at which the last command failed.
    Fault = 0x20,
    /// 64 bits: a page of which the first 32 bits are the number of copies that went well, once it is pinned.
    Record = 0x28,
    /// 32 bits, read only: that number.
    Count = 0x30,
}

impl Register {
    const ALL: [(Self, usize); 9] = [
        (Self::Magic, 4),
        (Self::Status, 4),
        (Self::Source, 8),
        (Self::Target, 8),
        (Self::Length, 4),
        (Self::Command, 4),
        (Self::Fault, 8),
        (Self::Record, 8),
        (Self::Count, 4),
    ];

    /// The register that an access is of.
    fn accessed(region: u32, offset: u64, len: usize) -> Result<Self, AccessError> {
        if region != 0 {
            return Err(AccessError::NoRegion(region));
        }
        registers().check(offset, len)?;
        let same = |(register, bytes): &&(Self, usize)| *register as u64 == offset && *bytes == len;
        let found = Self::ALL.iter().find(same).map(|(register, _)| *register);
        found.ok_or(AccessError::Shape { offset, len })
    }
}

const MAGIC: u32 = u32::from_le_bytes(*b"COPY");

fn registers() -> RegionInfo {
    RegionInfo {
        size: REGION,
        flags: RegionFlags::READ | RegionFlags::WRITE,
        mappable: Vec::new(),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    status: u32,
    source: u64,
    target: u64,
    length: u32,
    fault: u64,
    record: u64,
    count: u32,
}

/// The page that is pinned: where the device sees it, and where it is.
type Record = spin::Mutex<Option<(Iova, HostPhys)>>;

/// Lets go of the record's page when it is unmapped.
#[derive(Debug)]
struct Listener(Arc<Record>);

impl UnmapListener for Listener {
    fn unmapping(&self, range: IovaRange, release: &Release<'_>) {
        let mut record = self.0.lock();
        if record.is_some_and(|(page, _)| range.contains(page)) {
            *record = None;
            release.all();
        }
    }
}

/// The device. `S` is where its one interrupt goes, `M` is memory.
#[derive(Debug)]
pub struct Copier<S, M: HostMemory> {
    number: MediatedId,
    sink: S,
    memory: Option<SoftwareDma<M>>,
    state: State,
    /// Locked by whoever uses the pinned page, and by the listener to take it away.
    record: Arc<Record>,
    signalled: bool,
    masked: bool,
    pending: bool,
}

impl<S: IrqSink, M: HostMemory> Copier<S, M> {
    /// A device without memory.
    #[must_use]
    pub fn new(number: MediatedId, sink: S) -> Self {
        Self {
            number,
            sink,
            memory: None,
            state: State::default(),
            record: Arc::default(),
            signalled: false,
            masked: false,
            pending: false,
        }
    }

    fn interrupt(&mut self) {
        if !self.signalled {
            return;
        }
        if self.masked {
            self.pending = true;
        } else {
            self.sink.signal(DeviceId::Mediated(self.number), 0, 0);
        }
    }

    fn command(&mut self, command: u32) -> Result<(), AccessError> {
        let memory = self.memory.as_ref().ok_or(AccessError::Off)?;
        let done = match command {
            1 => copy(memory, &self.state).and_then(|()| {
                self.state.count = self.state.count.wrapping_add(1);
                note(memory, &self.record, self.state.count)
            }),
            2 => pin(memory, &self.record, Iova(self.state.record)),
            3 => unpin(memory, &self.record, Iova(self.state.record)),
            _ => Err(Iova(0)),
        };
        self.state.status = if done.is_ok() { 1 } else { 2 };
        self.state.fault = done.err().map_or(0, |at| at.0);
        self.interrupt();
        Ok(())
    }
}

/// Where a copy failed.
fn place(error: DmaError, start: u64) -> Iova {
    match error {
        DmaError::NotMapped(at) | DmaError::Poisoned(at) | DmaError::Denied { at, .. } => at,
        DmaError::Range(_) | DmaError::Host { .. } => Iova(start),
    }
}

fn copy<M: HostMemory>(memory: &SoftwareDma<M>, state: &State) -> Result<(), Iova> {
    if state.length > MOST {
        return Err(Iova(state.source));
    }
    let (mut piece, mut done) = ([0; PIECE], 0);
    while done < u64::from(state.length) {
        let len = (u64::from(state.length) - done).min(PIECE as u64);
        let Some(data) = piece.get_mut(..len as usize) else {
            break;
        };
        let at = |start: u64| start.checked_add(done).ok_or(Iova(start));
        let (from, to) = (at(state.source)?, at(state.target)?);
        memory
            .read(Iova(from), data)
            .map_err(|error| place(error, from))?;
        memory.write(Iova(to), data).map_err(|error| place(error, to))?;
        done += len;
    }
    Ok(())
}

/// Writes the number of copies to the page that is pinned, if one is.
fn note<M: HostMemory>(memory: &SoftwareDma<M>, record: &Record, count: u32) -> Result<(), Iova> {
    let record = record.lock();
    let Some((page, host)) = *record else {
        return Ok(());
    };
    memory
        .memory()
        .write(host, &count.to_le_bytes())
        .map_err(|_| page)
}

fn pin<M: HostMemory>(memory: &SoftwareDma<M>, record: &Record, page: Iova) -> Result<(), Iova> {
    let mut record = record.lock();
    if record.is_some() {
        return Err(page);
    }
    let pinned = memory.pin(page, SMALLEST, Access::READ | Access::WRITE);
    let pieces = pinned.map_err(|error| match error {
        PinError::Dma(error) => place(error, page.0),
        _ => page,
    })?;
    *record = pieces.first().map(|piece| (page, piece.host));
    Ok(())
}

fn unpin<M: HostMemory>(memory: &SoftwareDma<M>, record: &Record, asked: Iova) -> Result<(), Iova> {
    let mut record = record.lock();
    let Some((page, _)) = record.take() else {
        return Err(asked);
    };
    memory.unpin(page, SMALLEST).map_err(|_| page)
}

impl<S: IrqSink, M: HostMemory> Device for Copier<S, M> {
    fn id(&self) -> DeviceId {
        self.number.into()
    }

    fn region(&self, index: u32) -> Option<RegionInfo> {
        (index == 0).then(registers)
    }

    fn irq(&self, index: u32) -> Option<IrqInfo> {
        let flags = IrqFlags::SIGNAL | IrqFlags::MASKABLE;
        (index == 0).then_some(IrqInfo { count: 1, flags })
    }

    fn can_reset(&self) -> bool {
        true
    }

    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), AccessError> {
        let state = &self.state;
        let value = match Register::accessed(region, offset, data.len())? {
            Register::Magic => MAGIC.into(),
            Register::Status => state.status.into(),
            Register::Source => state.source,
            Register::Target => state.target,
            Register::Length => state.length.into(),
            Register::Command => return Err(AccessError::Denied),
            Register::Fault => state.fault,
            Register::Record => state.record,
            Register::Count => state.count.into(),
        };
        for (byte, value) in data.iter_mut().zip(u64::to_le_bytes(value)) {
            *byte = value;
        }
        Ok(())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), AccessError> {
        let register = Register::accessed(region, offset, data.len())?;
        let mut bytes = [0; 8];
        for (byte, value) in bytes.iter_mut().zip(data) {
            *byte = *value;
        }
        let value = u64::from_le_bytes(bytes);
        match register {
            Register::Source => self.state.source = value,
            Register::Target => self.state.target = value,
            Register::Length => self.state.length = value as u32,
            Register::Record => self.state.record = value,
            Register::Command => self.command(value as u32)?,
            Register::Magic | Register::Status | Register::Fault | Register::Count => {
                return Err(AccessError::Denied);
            }
        }
        Ok(())
    }

    fn set_irqs(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError> {
        request.check(self.irq(request.index))?;
        match request.action {
            IrqAction::Signal(sinks) => {
                self.signalled = sinks.first() == Some(&true);
                self.pending &= self.signalled;
            }
            IrqAction::Disable => (self.signalled, self.masked, self.pending) = (false, false, false),
            IrqAction::Trigger => self.interrupt(),
            IrqAction::Mask => self.masked = true,
            IrqAction::Unmask => {
                self.masked = false;
                if core::mem::take(&mut self.pending) {
                    self.interrupt();
                }
            }
        }
        Ok(())
    }

    /// All registers, the interrupt and the pinned page are as at the beginning.
    fn reset(&mut self) -> Result<(), Fault> {
        self.state = State::default();
        (self.signalled, self.masked, self.pending) = (false, false, false);
        // Held until it is unpinned: an unmap that comes meanwhile finds it pinned or not, never in between.
        let mut record = self.record.lock();
        match (&self.memory, record.take()) {
            (Some(memory), Some((page, _))) => memory.unpin(page, SMALLEST).map_err(|_| Fault::Rejected),
            _ => Ok(()),
        }
    }
}

impl<S: IrqSink, M: HostMemory> Mediated<M> for Copier<S, M> {
    fn number(&self) -> MediatedId {
        self.number
    }

    fn listener(&self) -> Arc<dyn UnmapListener> {
        Arc::new(Listener(Arc::clone(&self.record)))
    }

    fn open(&mut self, memory: SoftwareDma<M>) {
        self.memory = Some(memory);
    }

    fn close(&mut self) {
        *self.record.lock() = None;
        self.memory = None;
    }
}
