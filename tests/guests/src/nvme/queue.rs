//! A submission queue and its completion queue (NVM Express Base 2.0, section 3.3).

use super::NvmeError;
use super::spec::{Command, Completion, DOORBELLS};
use crate::rt::dma::DmaBuffer;
use crate::rt::interrupts;
use crate::rt::mmio::Mmio;
use crate::rt::time::{self, Deadline};

/// Entries of a queue; more than fit the controller are never asked for, see `Controller::start`.
pub(super) const ENTRIES: u16 = 16;

const SUBMISSION: usize = 64;
const COMPLETION: usize = 16;
const LAST_DWORD: usize = 12;

/// How long a command may take, in ms: longer than any emulated disk needs.
const PATIENCE: u32 = 10_000;

/// A pair of queues, for one command at a time.
#[derive(Debug)]
pub(super) struct QueuePair {
    pub(super) id: u16,
    pub(super) submissions: DmaBuffer,
    pub(super) completions: DmaBuffer,
    /// Interrupts come on this vector; without one the pair is polled.
    vector: Option<u8>,
    tail: u16,
    head: u16,
    phase: bool,
    next_command: u16,
    doorbell: usize,
    stride: usize,
}

impl QueuePair {
    /// The pair `id`; `stride` bytes lie between doorbells.
    pub(super) fn new(id: u16, stride: usize, vector: Option<u8>) -> Self {
        Self {
            id,
            submissions: DmaBuffer::new(usize::from(ENTRIES) * SUBMISSION),
            completions: DmaBuffer::new(usize::from(ENTRIES) * COMPLETION),
            vector,
            tail: 0,
            head: 0,
            phase: true,
            next_command: 0,
            doorbell: DOORBELLS + 2 * usize::from(id) * stride,
            stride,
        }
    }

    /// Submits `command`; gives its identifier.
    pub(super) fn submit(&mut self, registers: &Mmio, command: &Command) -> u16 {
        let id = self.next_command;
        self.next_command = (id + 1) % 0x1000;
        self.submissions
            .write(usize::from(self.tail) * SUBMISSION, &command.encode(id));
        self.tail = (self.tail + 1) % ENTRIES;
        registers.write32(self.doorbell, u32::from(self.tail));
        id
    }

    /// Submits `command` and waits for its completion; gives the completion's first dword.
    pub(super) fn run(&mut self, registers: &Mmio, command: &Command) -> Result<u32, NvmeError> {
        let before = self.vector.map(interrupts::count);
        let id = self.submit(registers, command);
        let (queue, opcode) = (self.id, command.opcode);
        let timeout = NvmeError::Timeout {
            opcode,
            queue,
            milliseconds: PATIENCE,
        };
        let completion = match (self.vector, before) {
            (Some(vector), Some(before)) => {
                let interrupted = Self::await_interrupt(vector, before);
                let completion = self.completed().ok_or(timeout)?;
                if !interrupted {
                    return Err(NvmeError::NoInterrupt {
                        opcode,
                        queue,
                        vector,
                    });
                }
                completion
            }
            _ => time::poll(PATIENCE, || self.completed()).ok_or(timeout)?,
        };
        let result = self.completions.read32(usize::from(self.head) * COMPLETION);
        self.head = (self.head + 1) % ENTRIES;
        self.phase ^= self.head == 0;
        registers.write32(self.doorbell + self.stride, u32::from(self.head));

        let (found, expected) = (completion.command(), id);
        if found != expected {
            return Err(NvmeError::Mismatch {
                queue,
                found,
                expected,
            });
        }
        match completion.status() {
            0 => Ok(result),
            status => Err(NvmeError::Status {
                opcode,
                queue,
                status,
            }),
        }
    }

    /// The completion at the head, once the controller wrote it.
    fn completed(&self) -> Option<Completion> {
        let dword = self
            .completions
            .read32(usize::from(self.head) * COMPLETION + LAST_DWORD);
        let completion = Completion::from_bits(dword);
        (completion.phase() == self.phase).then_some(completion)
    }

    /// Waits in HLT until `vector` has interrupted more often than `before`; `false` when the time is up.
    fn await_interrupt(vector: u8, before: u64) -> bool {
        let deadline = Deadline::after(PATIENCE);
        while interrupts::count(vector) == before {
            if deadline.passed() {
                return false;
            }
            interrupts::wait();
        }
        true
    }
}
