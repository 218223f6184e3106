//! CPUID and model-specific registers.

use super::Platform;
use crate::guest::GuestFault;
use crate::guest::apic::{BaseError, Mode};
use crate::guest::policy::cpuid::{self, Processor, Registers};
use crate::guest::policy::{MsrAccess, msr};
use crate::virt::{Exception, Gpr, VcpuState};
use cohort_abi::statistics;

impl Platform {
    pub(super) fn cpuid(
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

    pub(super) fn msr(&mut self, write: bool, vcpu: &mut impl VcpuState, now: u64) -> Result<(), GuestFault> {
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
}
