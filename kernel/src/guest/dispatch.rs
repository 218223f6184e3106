//! What is done about an exit: one look-up in the tables, one answer.
//!
//! A [`Platform`] is all that a guest of one vCPU meets beside its devices: local APIC, console, exit port, CPUID,
//! MSRs. It works on [`VcpuState`] and never learns of the vendor; devices are behind [`Devices`].

use super::apic::LocalApic;
use super::console::Console;
use super::policy::cpuid::{self, Registers, Topology};
use super::policy::port::{PANICKED, SLEEP_ENABLE, SLEEP_SOFT_OFF};
use super::policy::{MsrAccess, PortAction, absent, msr, port};
use super::{GuestEnd, GuestFault, GuestMemory, mmio, paging};
use crate::addr::GuestPhys;
use crate::pci::Width;
use crate::virt::{Exception, Exit, ExitKind, Gpr, IoDirection, IoExit, NestedFault, VcpuState};
use cohort_abi::bundle::Denied;
use cohort_abi::end::ResetBy;
use cohort_abi::statistics;

/// Guest physical address and length of the local APIC's registers.
const APIC: core::ops::Range<u64> = 0xfee0_0000..0xfee0_1000;
/// APIC_BASE: enabled, boot processor, at its reset address (AMD64 manual, volume 2, section 16.3.1).
const APIC_BASE: u64 = 0xfee0_0900;
/// In the reset register: do it.
const RESET_NOW: u8 = 1 << 2;
/// To the keyboard controller: pulse the reset line, which is bit 0 of its output port.
const PULSE_RESET: u8 = 0xfe;

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
    /// Enter the guest again.
    Resume,
    /// Wait for an interrupt, at most until [`Platform::next_deadline`], then enter the guest again.
    Halt,
    /// The guest's life is over.
    Stop(GuestEnd),
}

/// A guest's processor platform.
#[derive(Debug)]
pub struct Platform {
    memory: GuestMemory,
    apic: LocalApic,
    console: Console,
    counts: [u64; ExitKind::ALL.len()],
    interrupts: u64,
    /// The time-stamp counter before the first entry.
    started: Option<u64>,
    denied: Denied,
}

impl Platform {
    /// The platform of a guest with this memory and one vCPU.
    #[must_use]
    pub fn new(memory: GuestMemory) -> Self {
        let counts = [0; ExitKind::ALL.len()];
        Self {
            memory,
            apic: LocalApic::new(0, 1),
            console: Console::default(),
            counts,
            interrupts: 0,
            started: None,
            denied: Denied::Stop,
        }
    }

    /// What no table allows is answered as `denied` says; without this, it ends the guest.
    #[must_use]
    pub fn answering(mut self, denied: Denied) -> Self {
        self.denied = denied;
        self
    }

    /// The guest's memory.
    #[must_use]
    pub const fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// How often the guest left, by reason; only reasons that occurred.
    pub fn exits(&self) -> impl Iterator<Item = (ExitKind, u64)> + '_ {
        ExitKind::ALL
            .into_iter()
            .zip(self.counts)
            .filter(|(_, count)| *count != 0)
    }

    /// Interrupts of devices that its local APIC took.
    #[must_use]
    pub const fn interrupts(&self) -> u64 {
        self.interrupts
    }

    /// An interrupt of a device, by the vector that the guest gave it.
    pub fn interrupt(&mut self, vector: u8) {
        self.interrupts += u64::from(self.apic.accept(vector));
    }

    /// When the guest's timer fires next, in ticks of the time-stamp counter.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.apic.next_deadline()
    }

    /// Whether an interrupt waits that would end a HLT.
    #[must_use]
    pub fn wakes(&mut self, now: u64) -> bool {
        self.apic.advance(now);
        self.apic.next_interrupt().is_some()
    }

    /// Before each entry: lets the timer fire, and injects the interrupt that is next, or asks for the moment when
    /// it can be.
    pub fn before_entry(&mut self, vcpu: &mut impl VcpuState, now: u64) {
        self.started.get_or_insert(now);
        self.apic.advance(now);
        if let Some(vector) = self.apic.next_interrupt() {
            if vcpu.inject_interrupt(vector) {
                self.apic.acknowledge(vector);
            } else {
                vcpu.request_interrupt_window();
            }
        }
    }

    /// Ends the guest's unfinished line of output.
    pub fn flush(&mut self, emit: impl FnOnce(&str)) {
        self.console.flush(emit);
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
        self.denied == Denied::Hardware
    }

    /// Goes on behind the instruction that left.
    fn skip(&self, vcpu: &mut impl VcpuState) -> Result<(), GuestFault> {
        let next = match vcpu.next_rip() {
            Some(next) => next,
            None => {
                let bytes = paging::fetch(&self.memory, vcpu)?;
                mmio::next_rip(&bytes, vcpu).map_err(|_| GuestFault::Fetch { rip: vcpu.rip() })?
            }
        };
        vcpu.set_rip(next);
        Ok(())
    }

    fn halt(&self, vcpu: &mut impl VcpuState) -> Verdict {
        let rip = vcpu.rip();
        match self.skip(vcpu) {
            Err(fault) => Verdict::Stop(fault.into()),
            Ok(()) if vcpu.rflags() & crate::virt::rflags::IF == 0 => {
                Verdict::Stop(GuestFault::HaltForever { rip }.into())
            }
            Ok(()) => Verdict::Halt,
        }
    }

    fn io(&mut self, io: IoExit, vcpu: &mut impl VcpuState, emit: impl FnOnce(&str)) -> Verdict {
        let write = io.direction == IoDirection::Out;
        let denied = GuestFault::DeniedPort {
            port: io.port,
            write,
            bytes: io.width.bytes(),
            rip: vcpu.rip(),
        };
        let simple = !io.string && !io.rep;
        let absent_port = self.lenient().then_some(PortAction::Absent);
        let Some(action) = port(io.port).or(absent_port).filter(|_| simple) else {
            return Verdict::Stop(denied.into());
        };
        let value = vcpu.gprs().get(Gpr::Rax);
        let read = match (action, io.width) {
            (PortAction::Exit, Width::Byte) if write => return Verdict::Stop(GuestEnd::Exit(value as u8)),
            (PortAction::Console(offset), Width::Byte) if write => {
                self.console.write(offset, value as u8, emit);
                0
            }
            (PortAction::Console(offset), Width::Byte) => self.console.read(offset).into(),
            (PortAction::Sleep, Width::Byte) if write => {
                let kind = value as u8 >> 2 & 7;
                if value as u8 & SLEEP_ENABLE != 0 && kind == SLEEP_SOFT_OFF {
                    return Verdict::Stop(GuestEnd::PowerOff);
                }
                0
            }
            (PortAction::Reset, Width::Byte) if write => {
                if value as u8 & RESET_NOW != 0 {
                    return Verdict::Stop(GuestEnd::Reset(ResetBy::Register));
                }
                0
            }
            (PortAction::Keyboard, Width::Byte) if write && value as u8 == PULSE_RESET => {
                return Verdict::Stop(GuestEnd::Reset(ResetBy::Keyboard));
            }
            (PortAction::Keyboard, Width::Byte) => u64::MAX,
            (PortAction::Panic, Width::Byte) if write => {
                if value as u8 & PANICKED != 0 {
                    return Verdict::Stop(GuestEnd::Panic);
                }
                0
            }
            (PortAction::Panic, Width::Byte) => PANICKED.into(),
            (PortAction::Sleep | PortAction::SleepStatus | PortAction::Reset, Width::Byte) => 0,
            (PortAction::Absent, _) => absent(io.port),
            // A register of one byte, and more than one: nothing is behind it.
            (_, _) if self.lenient() => u64::MAX,
            (_, _) => return Verdict::Stop(denied.into()),
        };
        if !write {
            let new = match io.width {
                Width::Byte => value & !0xff | read & 0xff,
                Width::Word => value & !0xffff | read & 0xffff,
                Width::Dword => read & 0xffff_ffff,
            };
            vcpu.gprs_mut().set(Gpr::Rax, new);
        }
        self.skip(vcpu)
            .map_or_else(|fault| Verdict::Stop(fault.into()), |()| Verdict::Resume)
    }

    fn cpuid(
        &self,
        vcpu: &mut impl VcpuState,
        hardware: impl Fn(u32, u32) -> Registers,
    ) -> Result<(), GuestFault> {
        let (leaf, subleaf) = (vcpu.gprs().get32(Gpr::Rax), vcpu.gprs().get32(Gpr::Rcx));
        let topology = Topology {
            apic_id: self.apic.id(),
            cpus: 1,
        };
        let answer = match leaf {
            statistics::LEAF => self.statistics(subleaf),
            _ => cpuid::filter(leaf, subleaf, topology, hardware),
        };
        let gprs = vcpu.gprs_mut();
        gprs.set32(Gpr::Rax, answer.eax);
        gprs.set32(Gpr::Rbx, answer.ebx);
        gprs.set32(Gpr::Rcx, answer.ecx);
        gprs.set32(Gpr::Rdx, answer.edx);
        self.skip(vcpu)
    }

    /// What the guest can learn of its own running.
    fn statistics(&self, number: u32) -> Registers {
        let value = match number as usize {
            statistics::STARTED => self.started,
            number => match number.checked_sub(statistics::EXITS) {
                Some(kind) => self.counts.get(kind).copied(),
                None => Some(self.interrupts),
            },
        };
        let value = value.unwrap_or(0);
        Registers {
            eax: value as u32,
            ebx: (value >> 32) as u32,
            ecx: statistics::NAMES.len() as u32,
            edx: 0,
        }
    }

    fn msr(&self, write: bool, vcpu: &mut impl VcpuState, now: u64) -> Result<(), GuestFault> {
        let number = vcpu.gprs().get32(Gpr::Rcx);
        let denied = GuestFault::DeniedMsr {
            msr: number,
            write,
            rip: vcpu.rip(),
        };
        let access = msr(number).ok_or(denied)?;
        let value = u64::from(vcpu.gprs().get32(Gpr::Rdx)) << 32 | u64::from(vcpu.gprs().get32(Gpr::Rax));
        if write {
            match access {
                MsrAccess::Context(register) => {
                    if vcpu.set_context_msr(register, value).is_err() {
                        vcpu.inject_exception(Exception::PROTECTION);
                        return Ok(());
                    }
                }
                MsrAccess::ApicBase if value == APIC_BASE => {}
                MsrAccess::Fixed(_) => {}
                MsrAccess::Direct | MsrAccess::ApicBase | MsrAccess::Tsc | MsrAccess::ReadOnly(_) => {
                    return Err(denied);
                }
            }
        } else {
            let read = match access {
                MsrAccess::Context(register) => vcpu.context_msr(register),
                MsrAccess::ApicBase => APIC_BASE,
                MsrAccess::Tsc => now,
                MsrAccess::ReadOnly(value) | MsrAccess::Fixed(value) => value,
                MsrAccess::Direct => return Err(denied),
            };
            vcpu.gprs_mut().set32(Gpr::Rax, read as u32);
            vcpu.gprs_mut().set32(Gpr::Rdx, (read >> 32) as u32);
        }
        self.skip(vcpu)
    }

    fn access(
        &mut self,
        fault: NestedFault,
        vcpu: &mut impl VcpuState,
        devices: &mut impl Devices,
        now: u64,
    ) -> Result<(), GuestFault> {
        let (gpa, rip) = (fault.gpa, vcpu.rip());
        let nothing = GuestFault::Unmapped {
            gpa,
            write: fault.write,
            fetch: fault.fetch,
            rip,
        };
        if fault.fetch || fault.table_walk {
            return Err(nothing);
        }
        if fault.present {
            return Err(GuestFault::ReadOnly { gpa, rip });
        }
        let on_apic = APIC.contains(&gpa.0);
        // Where nothing is, no instruction needs decoding.
        let here = on_apic || devices.has(gpa);
        if !here && !self.lenient() {
            return Err(nothing);
        }
        let bytes = paging::fetch(&self.memory, vcpu)?;
        let instruction =
            mmio::decode(&bytes, vcpu, gpa).map_err(|_| GuestFault::Instruction { rip, gpa })?;
        let apic = &mut self.apic;
        instruction.execute(vcpu, gpa, |access| {
            let refused = GuestFault::DeviceAccess {
                gpa,
                bytes: access.bytes,
                rip,
            };
            match (on_apic, access.write) {
                // Nothing is on the bus: ones come back.
                (false, _) if !here => Ok(u64::MAX),
                (true, _) if access.bytes != 4 || !gpa.0.is_multiple_of(4) => Err(refused),
                (true, None) => Ok(apic.read((gpa.0 - APIC.start) as u16, now).into()),
                (true, Some(value)) => {
                    // With one vCPU there is nobody to send to: what is for the sender itself was taken already.
                    let _ = apic.write((gpa.0 - APIC.start) as u16, value as u32, now);
                    Ok(0)
                }
                (false, None) => devices.read(gpa, access.bytes).ok_or(refused),
                (false, Some(value)) => devices
                    .write(gpa, access.bytes, value)
                    .then_some(0)
                    .ok_or(refused),
            }
        })
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
#[path = "dispatch_tests.rs"]
mod tests;
