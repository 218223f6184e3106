//! What is done about an exit: one look-up in the tables, one answer.
//!
//! A [`Platform`] is what one vCPU meets beside the guest's devices: its local APIC, CPUID, MSRs, and the [`Board`] that it shares
//! with the others. It works on [`VcpuState`] and never learns of the vendor; devices are behind [`Devices`].

mod activity;
mod memory;
mod ports;
mod registers;

pub use activity::Entry;

use super::apic::{Effect, LocalApic};
use super::board::Board;
use super::policy::cpuid::Registers;
use super::{GuestEnd, GuestFault, GuestMemory, mmio, paging};
use crate::addr::GuestPhys;
use crate::virt::{Exception, Exit, ExitKind, Gpr, VcpuState};
use activity::Activity;
use alloc::sync::Arc;
use cohort_abi::bundle::Denied;

/// The emulated registers of a guest's devices.
pub trait Devices {
    /// Whether a device is at `gpa`.
    fn has(&self, gpa: GuestPhys) -> bool;
    /// Reads `bytes` (1, 2, 4 or 8) at `gpa`; `None` where no device is.
    fn read(&mut self, gpa: GuestPhys, bytes: u8) -> Option<u64>;
    /// Writes the low `bytes` of `value` at `gpa`; `false` where no device is.
    fn write(&mut self, gpa: GuestPhys, bytes: u8, value: u64) -> bool;
}

/// What the processor is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with [`Platform::before_entry`].
    Resume,
    /// The same; the vCPU has halted.
    Halt,
    /// The guest's life is over, on all its vCPUs.
    Stop(GuestEnd),
}

/// The processor platform of one vCPU.
#[derive(Debug)]
pub struct Platform {
    board: Arc<Board>,
    apic: LocalApic,
    activity: Activity,
    /// A non-maskable interrupt waits.
    nmi: bool,
    counts: [u64; ExitKind::ALL.len()],
    interrupts: u64,
    /// The time-stamp counter before the first entry.
    started: Option<u64>,
}

impl Platform {
    /// The platform of vCPU `id` of the guest on `board`. vCPU 0 runs, the others wait for a start-up message.
    #[must_use]
    pub fn new(board: Arc<Board>, id: u8) -> Self {
        let activity = if id == 0 {
            Activity::Running
        } else {
            Activity::WaitsForStartUp
        };
        if activity.asleep() {
            board.bus.sleep(id);
        }
        Self {
            board,
            apic: LocalApic::new(id),
            activity,
            nmi: false,
            counts: [0; ExitKind::ALL.len()],
            interrupts: 0,
            started: None,
        }
    }

    /// What it shares with the other vCPUs.
    #[must_use]
    pub const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.board.memory
    }

    /// How often the vCPU left, by reason; only reasons that occurred.
    pub fn exits(&self) -> impl Iterator<Item = (ExitKind, u64)> + '_ {
        ExitKind::ALL
            .into_iter()
            .zip(self.counts)
            .filter(|(_, count)| *count != 0)
    }

    /// Interrupts of devices that came to its CPU.
    #[must_use]
    pub const fn interrupts(&self) -> u64 {
        self.interrupts
    }

    /// An interrupt of a device that came to this vCPU's CPU: for the vCPU `apic`, by the vector that the guest gave it.
    pub fn interrupt(&mut self, apic: u8, vector: u8) {
        if apic == self.apic.id() {
            self.interrupts += u64::from(self.apic.accept(vector, false));
        } else {
            self.board.bus.interrupt(apic, vector);
            self.interrupts += 1;
        }
    }

    /// When the vCPU must be entered or looked after next, in ticks of the time-stamp counter.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let counts = matches!(self.activity, Activity::Running | Activity::Halted);
        self.apic.next_deadline().filter(|_| counts)
    }

    /// A non-maskable interrupt waits for the vCPU to be able to take it, which shows only when it leaves the guest.
    #[must_use]
    pub const fn awaits_nmi(&self) -> bool {
        self.nmi
    }

    /// Carries out what a write to the local APIC asks for.
    fn apply(&self, effect: Effect) {
        let id = self.apic.id();
        match effect {
            Effect::None => {}
            Effect::Send(message) => {
                self.board.bus.send(Some(id), message, false);
            }
            Effect::EndOfLevel(vector) => self.board.end_of_level(vector),
            Effect::Readdressed => self.board.bus.publish(id, self.apic.address()),
        }
    }

    /// Counts an exit that was answered elsewhere.
    pub fn count(&mut self, kind: ExitKind) {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// Does what `exit` asks for. `now` is the time-stamp counter, `hardware` executes CPUID, `emit` gets each line
    /// that the guest prints.
    pub fn handle(
        &mut self,
        exit: Exit,
        vcpu: &mut impl VcpuState,
        devices: &mut impl Devices,
        now: u64,
        hardware: impl Fn(u32, u32) -> Registers,
        emit: impl FnOnce(&str),
    ) -> Verdict {
        self.count(exit.kind());
        let done = match exit {
            Exit::ExternalInterrupt | Exit::Nmi | Exit::InterruptWindow => return Verdict::Resume,
            Exit::Hlt => return self.halt(vcpu),
            Exit::Io(io) => return self.io(io, vcpu, emit),
            Exit::Cpuid => self.cpuid(vcpu, hardware),
            Exit::Msr { write } => match self.msr(write, vcpu, now) {
                Err(GuestFault::DeniedMsr { .. }) if self.lenient() => {
                    vcpu.inject_exception(Exception::PROTECTION);
                    Ok(())
                }
                done => done,
            },
            Exit::Hypercall if self.lenient() => {
                vcpu.inject_exception(Exception::UNDEFINED);
                Ok(())
            }
            Exit::NestedFault(fault) => self.access(fault, vcpu, devices, now),
            Exit::CacheFlush => self.skip(vcpu),
            Exit::UndefinedInstruction => {
                vcpu.inject_exception(Exception::UNDEFINED);
                Ok(())
            }
            Exit::Exception { vector, error } => {
                vcpu.inject_exception(Exception { vector, error });
                Ok(())
            }
            other => Err(fault_of(other, vcpu)),
        };
        done.map_or_else(|fault| Verdict::Stop(fault.into()), |()| Verdict::Resume)
    }

    /// Whether what no table allows is answered as a PC without it would answer.
    fn lenient(&self) -> bool {
        self.board.denied == Denied::Hardware
    }

    /// Goes on behind the instruction that left.
    fn skip(&self, vcpu: &mut impl VcpuState) -> Result<(), GuestFault> {
        let next = match vcpu.next_rip() {
            Some(next) => next,
            None => {
                let bytes = paging::fetch(&self.board.memory, vcpu)?;
                mmio::next_rip(&bytes, vcpu).map_err(|_| GuestFault::Fetch { rip: vcpu.rip() })?
            }
        };
        vcpu.set_rip(next);
        Ok(())
    }
}

fn fault_of(exit: Exit, vcpu: &impl VcpuState) -> GuestFault {
    let rip = vcpu.rip();
    match exit {
        Exit::Shutdown => GuestFault::Shutdown { rip },
        Exit::MachineCheck => GuestFault::MachineCheck { rip },
        Exit::Hypercall => GuestFault::Hypercall {
            number: vcpu.gprs().get(Gpr::Rax),
            rip,
        },
        Exit::InvalidState => GuestFault::InvalidState { rip },
        Exit::Unsupported { code, name } => GuestFault::Unsupported { name, code, rip },
        other => GuestFault::Unsupported {
            name: other.kind().name(),
            code: 0,
            rip,
        },
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(test)]
#[cfg(not(loom))]
mod smp_tests;
