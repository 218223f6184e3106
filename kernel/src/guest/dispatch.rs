//! What is done about an exit: one look-up in the tables, one answer.
//!
//! A [`Platform`] is what one vCPU meets beside the guest's devices: its local APIC, CPUID, MSRs, and the [`Board`] that it shares
//! with the others. It works on [`VcpuState`] and never learns of the vendor; devices are behind [`Devices`].

use super::apic::{BaseError, Effect, LocalApic, Mode};
use super::board::Board;
use super::policy::cpuid::{self, Processor, Registers};
use super::policy::port::{PANICKED, SLEEP_ENABLE, SLEEP_SOFT_OFF};
use super::policy::{MsrAccess, PortAction, absent, msr, port};
use super::{GuestEnd, GuestFault, GuestMemory, mmio, paging};
use crate::addr::GuestPhys;
use crate::pci::Width;
use crate::virt::{
    Exception, Exit, ExitKind, Gpr, IoDirection, IoExit, NestedFault, RealEntry, VcpuState, rflags,
};
use alloc::sync::Arc;
use cohort_abi::bundle::Denied;
use cohort_abi::end::ResetBy;
use cohort_abi::statistics;
use spec::{ioapic, lapic};

/// Guest physical addresses of the local APIC's registers.
const APIC: core::ops::Range<u64> = lapic::BASE..lapic::BASE + lapic::SIZE;
/// Those of the I/O APIC's.
const IOAPIC: core::ops::Range<u64> = ioapic::BASE..ioapic::BASE + ioapic::SIZE;
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
    /// Go on with [`Platform::before_entry`].
    Resume,
    /// The same; the vCPU has halted.
    Halt,
    /// The guest's life is over, on all its vCPUs.
    Stop(GuestEnd),
}

/// Whether a vCPU can be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It can.
    Run,
    /// It waits for an interrupt or a message, at most until [`Platform::next_deadline`].
    Wait,
    /// It waits, and so do all others, and nothing can wake any of them.
    Never(GuestFault),
}

/// What a vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Running,
    /// HLT.
    Halted,
    /// HLT with interrupts off: only NMI and INIT wake it.
    Stopped,
    /// INIT came, or it was never started.
    WaitsForStartUp,
}

impl Activity {
    const fn asleep(self) -> bool {
        matches!(self, Self::Stopped | Self::WaitsForStartUp)
    }
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

    /// Takes what others left for the vCPU, lets the timer fire, and says whether the guest can be entered. If so, the interrupt that
    /// is next is injected, or the moment asked for when it can be.
    pub fn before_entry(&mut self, vcpu: &mut impl VcpuState, now: u64) -> Entry {
        if self.board.bus.has_left(self.apic.id()) {
            self.collect(vcpu);
        }
        self.apic.advance(now);
        match self.activity {
            Activity::Running => {}
            Activity::Halted if self.nmi || self.interrupt_wakes(vcpu) => self.activity = Activity::Running,
            Activity::Halted => return Entry::Wait,
            Activity::Stopped if self.nmi => self.activity = Activity::Running,
            Activity::Stopped | Activity::WaitsForStartUp => {
                return if self.board.bus.sleep(self.apic.id()) {
                    Entry::Never(self.board.all_asleep())
                } else {
                    Entry::Wait
                };
            }
        }
        self.started.get_or_insert(now);
        if self.nmi && vcpu.inject_nmi() {
            self.nmi = false;
        }
        if let Some(vector) = self.apic.next_interrupt() {
            if vcpu.inject_interrupt(vector) {
                self.apic.acknowledge(vector);
            } else {
                vcpu.request_interrupt_window();
            }
        }
        Entry::Run
    }

    /// Whether an interrupt ends a HLT: one waits, or was injected and has not been delivered.
    fn interrupt_wakes(&self, vcpu: &impl VcpuState) -> bool {
        self.apic.next_interrupt().is_some() || !vcpu.interruptible()
    }

    /// Takes what others left.
    fn collect(&mut self, vcpu: &mut impl VcpuState) {
        if self.activity.asleep() {
            self.board.bus.wake(self.apic.id());
        }
        let events = self.board.bus.collect(&mut self.apic);
        if events.init {
            self.apic.init();
            self.nmi = false;
            self.apply(Effect::Readdressed);
            // The bootstrap processor has no start-up to wait for. Nothing is at its reset vector, as its guest will find.
            self.activity = if self.apic.id() == 0 {
                Activity::Running
            } else {
                Activity::WaitsForStartUp
            };
            vcpu.restart(RealEntry::RESET);
        }
        if let Some(page) = events.start_up
            && self.activity == Activity::WaitsForStartUp
        {
            vcpu.restart(RealEntry::start_up(page));
            self.activity = Activity::Running;
        }
        if events.nmi && self.activity != Activity::WaitsForStartUp {
            self.nmi = true;
        }
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

    fn halt(&mut self, vcpu: &mut impl VcpuState) -> Verdict {
        let rip = vcpu.rip();
        match self.skip(vcpu) {
            Err(fault) => Verdict::Stop(fault.into()),
            Ok(()) => {
                self.activity = if vcpu.rflags() & rflags::IF == 0 {
                    self.board.note_stop(rip);
                    Activity::Stopped
                } else {
                    Activity::Halted
                };
                Verdict::Halt
            }
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
                self.board
                    .with_console(|console| console.write(offset, value as u8, emit));
                0
            }
            (PortAction::Console(offset), Width::Byte) => {
                self.board.with_console(|console| console.read(offset)).into()
            }
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
        let processor = Processor {
            apic_id: self.apic.id(),
            apic: self.apic.mode() != Mode::Disabled,
            cpus: self.board.cpus(),
            tsc_khz: self.board.tsc_khz,
        };
        let answer = match leaf {
            statistics::LEAF => self.statistics(subleaf),
            _ => cpuid::filter(leaf, subleaf, processor, hardware),
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

    fn msr(&mut self, write: bool, vcpu: &mut impl VcpuState, now: u64) -> Result<(), GuestFault> {
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
                MsrAccess::ApicBase => match self.apic.set_base(value) {
                    Ok(effect) => self.apply(effect),
                    Err(BaseError::Fixed) => return Err(denied),
                    Err(BaseError::Transition { .. }) => {
                        vcpu.inject_exception(Exception::PROTECTION);
                        return Ok(());
                    }
                },
                MsrAccess::X2Apic(_) if self.apic.mode() != Mode::X2Apic => return Err(denied),
                MsrAccess::X2Apic(number) => match self.apic.write_msr(number, value, now) {
                    Ok(effect) => self.apply(effect),
                    Err(_) => {
                        vcpu.inject_exception(Exception::PROTECTION);
                        return Ok(());
                    }
                },
                MsrAccess::Fixed(_) => {}
                MsrAccess::Direct | MsrAccess::Tsc | MsrAccess::ReadOnly(_) => return Err(denied),
            }
        } else {
            let read = match access {
                MsrAccess::Context(register) => vcpu.context_msr(register),
                MsrAccess::ApicBase => self.apic.base(),
                MsrAccess::X2Apic(_) if self.apic.mode() != Mode::X2Apic => return Err(denied),
                MsrAccess::X2Apic(number) => match self.apic.read_msr(number, now) {
                    Ok(value) => value,
                    Err(_) => {
                        vcpu.inject_exception(Exception::PROTECTION);
                        return Ok(());
                    }
                },
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
        let place = match gpa.0 {
            at if APIC.contains(&at) && self.apic.in_memory() => Place::Apic((at - APIC.start) as u16),
            at if IOAPIC.contains(&at) => Place::IoApic(at - IOAPIC.start),
            _ if devices.has(gpa) => Place::Device,
            // Where nothing is, no instruction needs decoding.
            _ if !self.lenient() => return Err(nothing),
            _ => Place::Nothing,
        };
        let bytes = paging::fetch(&self.board.memory, vcpu)?;
        let instruction =
            mmio::decode(&bytes, vcpu, gpa).map_err(|_| GuestFault::Instruction { rip, gpa })?;
        instruction.execute(vcpu, gpa, |access| {
            let refused = GuestFault::DeviceAccess {
                gpa,
                bytes: access.bytes,
                rip,
            };
            match (place, access.write) {
                // Nothing is on the bus: ones come back.
                (Place::Nothing, _) => Ok(u64::MAX),
                (Place::Apic(_) | Place::IoApic(_), _) if access.bytes != 4 || !gpa.0.is_multiple_of(4) => {
                    Err(refused)
                }
                (Place::Apic(offset), None) => Ok(self.apic.read(offset, now).into()),
                (Place::Apic(offset), Some(value)) => {
                    let effect = self.apic.write(offset, value as u32, now);
                    self.apply(effect);
                    Ok(0)
                }
                (Place::IoApic(offset), None) => Ok(self.board.ioapic.lock().read(offset).into()),
                (Place::IoApic(ioapic::register::END), Some(value)) => {
                    self.board.end_of_level(value as u8);
                    Ok(0)
                }
                (Place::IoApic(offset), Some(value)) => {
                    let bus = &self.board.bus;
                    let mut send = |message, level| bus.send(None, message, level);
                    self.board.ioapic.lock().write(offset, value as u32, &mut send);
                    Ok(0)
                }
                (Place::Device, None) => devices.read(gpa, access.bytes).ok_or(refused),
                (Place::Device, Some(value)) => devices
                    .write(gpa, access.bytes, value)
                    .then_some(0)
                    .ok_or(refused),
            }
        })
    }
}

/// What an access reaches that nested paging stopped.
#[derive(Clone, Copy, Debug)]
enum Place {
    Apic(u16),
    IoApic(u64),
    Device,
    Nothing,
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
#[path = "dispatch_tests.rs"]
mod tests;

#[cfg(test)]
#[cfg(not(loom))]
#[path = "dispatch_smp_tests.rs"]
mod smp_tests;
