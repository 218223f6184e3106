//! The controller: reset, identify, queues, reading and writing.

use alloc::string::String;

use super::NvmeError;
use super::prp::{self, LIST};
use super::queue::{ENTRIES, QueuePair};
use super::spec::{self, Cap, Cc, Command, Csts};
use crate::pci::{Function, MsiX};
use crate::rt::dma::{DmaBuffer, PAGE};
use crate::rt::mmio::Mmio;
use crate::rt::time;

/// Bytes of a sector.
const SECTOR: usize = 512;

/// Most bytes of one transfer, for the driver's buffer; a controller may allow less (MDTS).
const MOST: usize = 64 * 1024;

/// The MSI-X entry of the queue pair that interrupts. Entry 0 is the admin queue's and stays masked.
const INTERRUPT_ENTRY: usize = 1;

/// The only namespace that is used.
const NAMESPACE: u32 = 1;

/// How to wait for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Look at the completion queue until it changes.
    Polling,
    /// Sleep until the MSI-X interrupt.
    Interrupt,
}

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    function: Function,
    registers: Mmio,
    msix: MsiX,
    timeout: u32,
    admin: QueuePair,
    polled: QueuePair,
    interrupting: QueuePair,
    data: DmaBuffer,
    list: DmaBuffer,
    most: usize,
    /// Its model, as it says.
    pub model: String,
    /// Its version: major in bits 31:16, minor in bits 15:8.
    pub version: u32,
    /// Sectors of the namespace.
    pub sectors: u64,
}

impl Controller {
    /// Resets and starts the controller at `function`, with interrupts on `vector`.
    ///
    /// # Errors
    /// It does not answer as the standard demands, or has less than `needed` sectors.
    pub fn start(function: Function, vector: u8, needed: u64) -> Result<Self, NvmeError> {
        function.enable();
        let registers = function.bar(0)?;
        let cap = Cap::from_bits(registers.read64(spec::CAP));
        if cap.mpsmin() != 0 || cap.mqes() < ENTRIES - 1 {
            return Err(NvmeError::Capabilities(cap.into_bits()));
        }
        let stride = 4 << cap.dstrd();
        let mut controller = Self {
            function,
            registers,
            msix: MsiX::enable(function)?,
            timeout: u32::from(cap.to().max(1)) * 500,
            admin: QueuePair::new(0, stride, None),
            polled: QueuePair::new(1, stride, None),
            interrupting: QueuePair::new(2, stride, Some(vector)),
            data: DmaBuffer::new(MOST),
            list: DmaBuffer::new(PAGE),
            most: MOST,
            model: String::new(),
            version: registers.read32(spec::VS),
            sectors: 0,
        };
        controller.reset()?;
        controller.identify(needed)?;
        controller.msix.route(INTERRUPT_ENTRY, vector)?;
        controller.create_queues()?;
        Ok(controller)
    }

    /// Reads whole sectors from `first` on into `bytes`, in one command.
    ///
    /// # Errors
    /// The controller does not do it, or the length is none that one command can carry.
    pub fn read(&mut self, wait: Wait, first: u64, bytes: &mut [u8]) -> Result<(), NvmeError> {
        self.transfer(wait, spec::READ, first, bytes.len())?;
        self.data.read(0, bytes);
        Ok(())
    }

    /// Writes whole sectors from `first` on, in one command.
    ///
    /// # Errors
    /// As for reading.
    pub fn write(&mut self, wait: Wait, first: u64, bytes: &[u8]) -> Result<(), NvmeError> {
        if bytes.len() > self.most {
            return Err(NvmeError::Transfer(bytes.len()));
        }
        self.data.write(0, bytes);
        self.transfer(wait, spec::WRITE, first, bytes.len())
    }

    /// Makes what was written last.
    ///
    /// # Errors
    /// The controller does not do it.
    pub fn flush(&mut self, wait: Wait) -> Result<(), NvmeError> {
        let command = Command {
            opcode: spec::FLUSH,
            namespace: NAMESPACE,
            ..Command::default()
        };
        self.run(wait, &command)
    }

    /// Deletes the queues, shuts the controller down and takes bus mastership away.
    ///
    /// # Errors
    /// The controller does not do it in time.
    pub fn stop(mut self) -> Result<(), NvmeError> {
        for opcode in [spec::DELETE_SQ, spec::DELETE_CQ] {
            for id in [self.polled.id, self.interrupting.id] {
                self.admin(opcode, 0, [u32::from(id), 0, 0])?;
            }
        }
        let configuration = Cc::from_bits(self.registers.read32(spec::CC)).with_shn(1);
        self.registers.write32(spec::CC, configuration.into_bits());
        self.await_status("shut down", |status| status.shst() == 2)?;
        self.msix.disable();
        self.function.quiesce();
        Ok(())
    }

    /// Takes the controller away by function level reset, while it reads if `busy`, and starts it again from nothing.
    ///
    /// # Errors
    /// It has no such reset, answers in a state that no reset leaves, or does not start again.
    pub fn reset_function(mut self, busy: bool, vector: u8, needed: u64) -> Result<Self, NvmeError> {
        let function = self.function;
        if busy {
            self.begin(Wait::Interrupt, spec::READ, 0, self.most)?;
            self.begin(Wait::Polling, spec::READ, 0, self.most)?;
        }
        if !function.reset() {
            return Err(NvmeError::NoReset);
        }
        let silent = self.registers.read32(spec::VS) == u32::MAX;
        function.enable();
        let status = self.registers.read32(spec::CC);
        if !silent || function.decodes() && Cc::from_bits(status).en() || !self.msix.is_off() {
            return Err(NvmeError::NotReset(status));
        }
        Self::start(function, vector, needed)
    }

    /// Begins reads and lets go of the controller: for a guest that ends without a word to its devices.
    ///
    /// # Errors
    /// A queue is full.
    pub fn leave_reading(&mut self) -> Result<(), NvmeError> {
        self.begin(Wait::Interrupt, spec::READ, 0, self.most)?;
        self.begin(Wait::Polling, spec::READ, 0, self.most)
    }

    /// Lets the function sleep in D3hot, and hides its registers by turning decoding off; it goes on as before.
    ///
    /// # Errors
    /// It does not sleep, its registers answer while they must not, or it has forgotten what it was doing.
    pub fn nap(&self) -> Result<(), NvmeError> {
        let before = self.registers.read32(spec::CC);
        let hidden = self.function.without_memory(|| self.registers.read32(spec::CC));
        if !self.function.nap() || hidden != u32::MAX {
            return Err(NvmeError::NoSleep(hidden));
        }
        match self.registers.read32(spec::CC) {
            after if after == before => Ok(()),
            after => Err(NvmeError::NoSleep(after)),
        }
    }

    fn reset(&self) -> Result<(), NvmeError> {
        let registers = &self.registers;
        registers.write32(spec::CC, Cc::new().into_bits());
        self.await_status("disabled", |status| !status.rdy())?;
        let entries = u32::from(ENTRIES - 1);
        registers.write32(spec::AQA, entries << 16 | entries);
        registers.write64(spec::ASQ, self.admin.submissions.address());
        registers.write64(spec::ACQ, self.admin.completions.address());
        let configuration = Cc::new().with_en(true).with_iosqes(6).with_iocqes(4);
        registers.write32(spec::CC, configuration.into_bits());
        self.await_status("ready", |status| status.rdy())
    }

    fn await_status(&self, what: &'static str, done: impl Fn(Csts) -> bool) -> Result<(), NvmeError> {
        let status = || Csts::from_bits(self.registers.read32(spec::CSTS));
        let end = time::poll(self.timeout, || {
            Some(status()).filter(|status| done(*status) || status.cfs())
        });
        match end {
            None => Err(NvmeError::State(what, status().into_bits())),
            Some(status) if !done(status) => Err(NvmeError::Fatal(status.into_bits())),
            Some(_) => Ok(()),
        }
    }

    fn identify(&mut self, needed: u64) -> Result<(), NvmeError> {
        let mut page = [0; PAGE];
        self.identify_into(0, spec::CNS_CONTROLLER, &mut page)?;
        self.model = String::from_utf8_lossy(&page[24..64]).trim().into();
        // MDTS, in pages as a power of two; 0 means no limit.
        if let limit @ 1..16 = page[77] {
            self.most = self.most.min(PAGE << limit);
        }
        self.identify_into(NAMESPACE, spec::CNS_NAMESPACE, &mut page)?;
        let mut size = [0; 8];
        size.copy_from_slice(&page[..8]);
        self.sectors = u64::from_le_bytes(size);
        // FLBAS names the LBA format in use; LBADS is the third byte of a format.
        let shift = page[128 + 4 * usize::from(page[26] & 0xf) + 2];
        if 1 << (shift % 64) != SECTOR || self.sectors < needed {
            return Err(NvmeError::Namespace {
                sectors: self.sectors,
                shift,
                needed,
            });
        }
        Ok(())
    }

    fn identify_into(&mut self, namespace: u32, what: u32, page: &mut [u8; PAGE]) -> Result<(), NvmeError> {
        let address = self.data.address();
        let command = Command {
            opcode: spec::IDENTIFY,
            namespace,
            prp1: address,
            dwords: [what, 0, 0],
            ..Command::default()
        };
        self.admin.run(&self.registers, &command)?;
        self.data.read(0, page);
        Ok(())
    }

    fn create_queues(&mut self) -> Result<(), NvmeError> {
        self.admin(spec::SET_FEATURES, 0, [spec::FEATURE_QUEUES, 0x0001_0001, 0])?;
        let size = u32::from(ENTRIES - 1) << 16;
        let interrupt = (INTERRUPT_ENTRY as u32) << 16 | 0b10;
        for (id, completions, submissions, interrupt) in [
            (
                self.polled.id,
                self.polled.completions.address(),
                self.polled.submissions.address(),
                0,
            ),
            (
                self.interrupting.id,
                self.interrupting.completions.address(),
                self.interrupting.submissions.address(),
                interrupt,
            ),
        ] {
            let id = u32::from(id);
            // Bit 0 of dword 11: the queue is physically contiguous.
            self.admin(spec::CREATE_CQ, completions, [size | id, interrupt | 1, 0])?;
            self.admin(spec::CREATE_SQ, submissions, [size | id, id << 16 | 1, 0])?;
        }
        Ok(())
    }

    fn admin(&mut self, opcode: u8, prp1: u64, dwords: [u32; 3]) -> Result<(), NvmeError> {
        let command = Command {
            opcode,
            prp1,
            dwords,
            ..Command::default()
        };
        self.admin.run(&self.registers, &command).map(drop)
    }

    fn transfer(&mut self, wait: Wait, opcode: u8, first: u64, len: usize) -> Result<(), NvmeError> {
        let command = self.describe(opcode, first, len)?;
        self.run(wait, &command)
    }

    /// The same, without waiting for its end.
    fn begin(&mut self, wait: Wait, opcode: u8, first: u64, len: usize) -> Result<(), NvmeError> {
        let command = self.describe(opcode, first, len)?;
        let registers = self.registers;
        self.pair(wait).submit(&registers, &command);
        Ok(())
    }

    fn describe(&self, opcode: u8, first: u64, len: usize) -> Result<Command, NvmeError> {
        let blocks = len / SECTOR;
        if !len.is_multiple_of(SECTOR) || len > self.most || blocks == 0 {
            return Err(NvmeError::Transfer(len));
        }
        let mut pages = [0; LIST];
        let prp = prp::describe(self.data.address(), len as u64, self.list.address(), &mut pages)
            .ok_or(NvmeError::Transfer(len))?;
        for (at, page) in (0..).step_by(8).zip(pages.iter().take_while(|page| **page != 0)) {
            self.list.write(at, &page.to_le_bytes());
        }
        Ok(Command {
            opcode,
            namespace: NAMESPACE,
            prp1: prp.first,
            prp2: prp.second,
            dwords: [first as u32, (first >> 32) as u32, blocks as u32 - 1],
        })
    }

    fn run(&mut self, wait: Wait, command: &Command) -> Result<(), NvmeError> {
        let registers = self.registers;
        self.pair(wait).run(&registers, command).map(drop)
    }

    const fn pair(&mut self, wait: Wait) -> &mut QueuePair {
        match wait {
            Wait::Polling => &mut self.polled,
            Wait::Interrupt => &mut self.interrupting,
        }
    }
}
