//! Instructions that reach device registers: read by [`decode`](super::decode), which has their list, carried out here.
//!
//! The list is what compilers and systems use on registers: mov, movzx, movsx, and, or, xor, add, sub, test, cmp,
//! xchg, stos, each with one memory operand. Anything else is the guest's fault. Nothing of the vCPU changes before
//! the device has answered.

use super::alu::{Alu, truncate};
use super::decode;
use crate::addr::GuestPhys;
use crate::virt::{Gpr, VcpuState, rflags};

/// One access to a device's register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where.
    pub gpa: GuestPhys,
    /// Size: 1, 2, 4 or 8.
    pub bytes: u8,
    /// The value of a write, zero-extended; `None` for a read.
    pub write: Option<u64>,
}

/// The instruction is not one that is carried out on device registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the instruction is not one that device registers take")]
pub struct NotEmulated;

/// A general-purpose register or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) register: Gpr,
    pub(super) bytes: u8,
    /// AH, CH, DH or BH.
    pub(super) high: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Register(Part),
    Immediate(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// To a register, extended.
    Load { to: Part, signed: bool },
    /// From a register or an immediate.
    Store(Value),
    /// Register op= memory.
    IntoRegister { alu: Alu, to: Part },
    /// Memory op= value.
    IntoMemory { alu: Alu, with: Value },
    /// Flags of `memory op value`, or of `value op memory`.
    Compare {
        alu: Alu,
        with: Value,
        memory_first: bool,
    },
    /// Both ways.
    Exchange(Part),
    /// AL, AX, EAX or RAX to ES:rDI, with an address of so many bytes.
    Fill { repeat: bool, address_bytes: u8 },
}

/// A decoded instruction with one operand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioInstruction {
    operation: Operation,
    bytes: u8,
    next_rip: u64,
}

/// Where the instruction in `bytes`, which is at RIP, ends: for exits where the hardware does not say.
///
/// # Errors
/// The bytes are not one of the instructions that exits are left behind with.
pub fn next_rip(bytes: &[u8], vcpu: &impl VcpuState) -> Result<u64, NotEmulated> {
    decode::next_rip(bytes, vcpu)
}

/// Decodes the instruction in `bytes`, which is at RIP and stopped at an access of `gpa`.
///
/// # Errors
/// [`NotEmulated`], also where its memory operand is not at `gpa`: it has two, or crosses a page.
pub fn decode(bytes: &[u8], vcpu: &impl VcpuState, gpa: GuestPhys) -> Result<MmioInstruction, NotEmulated> {
    let decoded = decode::decode(bytes, vcpu)?;
    let offset = decoded.linear & 0xfff;
    if offset != gpa.0 & 0xfff || offset + u64::from(decoded.bytes) > 0x1000 {
        return Err(NotEmulated);
    }
    Ok(MmioInstruction {
        operation: decoded.operation,
        bytes: decoded.bytes,
        next_rip: decoded.next_rip,
    })
}

fn get(vcpu: &impl VcpuState, part: Part) -> u64 {
    let value = vcpu.gprs().get(part.register);
    truncate(if part.high { value >> 8 } else { value }, part.bytes)
}

/// Writes a register as the processor does: 32 bits clear the upper half, fewer keep what is above.
fn set(vcpu: &mut impl VcpuState, part: Part, value: u64) {
    let old = vcpu.gprs().get(part.register);
    let new = match (part.bytes, part.high) {
        (1, true) => old & !0xff00 | (value & 0xff) << 8,
        (1, false) => old & !0xff | value & 0xff,
        (2, _) => old & !0xffff | value & 0xffff,
        (4, _) => value & 0xffff_ffff,
        _ => value,
    };
    vcpu.gprs_mut().set(part.register, new);
}

impl MmioInstruction {
    /// Carries the instruction out at `gpa`: `bus` answers reads and takes writes. A repeated store does one
    /// element and stays where it is until the count is used up.
    ///
    /// # Errors
    /// What `bus` returns; the vCPU is as it was.
    pub fn execute<E>(
        &self,
        vcpu: &mut impl VcpuState,
        gpa: GuestPhys,
        mut bus: impl FnMut(Access) -> Result<u64, E>,
    ) -> Result<(), E> {
        let bytes = self.bytes;
        let mut access = |write| bus(Access { gpa, bytes, write });
        let operand = |vcpu: &_, value| match value {
            Value::Register(part) => get(vcpu, part),
            Value::Immediate(value) => truncate(value, bytes),
        };
        match self.operation {
            Operation::Load { to, signed } => {
                let value = truncate(access(None)?, bytes);
                let shift = 64 - 8 * u32::from(bytes);
                let extended = if signed {
                    ((value << shift) as i64 >> shift) as u64
                } else {
                    value
                };
                set(vcpu, to, truncate(extended, to.bytes));
            }
            Operation::Store(value) => {
                access(Some(operand(vcpu, value)))?;
            }
            Operation::IntoRegister { alu, to } => {
                let memory = access(None)?;
                let (result, flags) = alu.apply(get(vcpu, to), memory, bytes, vcpu.rflags());
                set(vcpu, to, result);
                vcpu.set_rflags(flags);
            }
            Operation::IntoMemory { alu, with } => {
                let memory = access(None)?;
                let (result, flags) = alu.apply(memory, operand(vcpu, with), bytes, vcpu.rflags());
                access(Some(result))?;
                vcpu.set_rflags(flags);
            }
            Operation::Compare {
                alu,
                with,
                memory_first,
            } => {
                let (memory, other) = (access(None)?, operand(vcpu, with));
                let (left, right) = if memory_first {
                    (memory, other)
                } else {
                    (other, memory)
                };
                let (_, flags) = alu.apply(left, right, bytes, vcpu.rflags());
                vcpu.set_rflags(flags);
            }
            Operation::Exchange(part) => {
                let old = access(None)?;
                access(Some(get(vcpu, part)))?;
                set(vcpu, part, truncate(old, bytes));
            }
            Operation::Fill {
                repeat,
                address_bytes,
            } => {
                let whole = |register, bytes| Part {
                    register,
                    bytes,
                    high: false,
                };
                let (index, count) = (whole(Gpr::Rdi, address_bytes), whole(Gpr::Rcx, address_bytes));
                let left = if repeat { get(vcpu, count) } else { 1 };
                if left > 0 {
                    access(Some(get(vcpu, whole(Gpr::Rax, bytes))))?;
                    let step = if vcpu.rflags() & rflags::DF == 0 {
                        u64::from(bytes)
                    } else {
                        u64::from(bytes).wrapping_neg()
                    };
                    let next = get(vcpu, index).wrapping_add(step);
                    set(vcpu, index, next);
                    if repeat {
                        set(vcpu, count, left - 1);
                    }
                }
                if left > 1 {
                    return Ok(());
                }
            }
        }
        vcpu.set_rip(self.next_rip);
        Ok(())
    }
}

#[cfg(test)]
#[path = "mmio_tests.rs"]
mod tests;
