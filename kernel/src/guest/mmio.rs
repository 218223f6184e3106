//! Instructions that reach device registers: decoded by a library (the most frequent by hand), accepted by a list,
//! carried out here.
//!
//! The list is what compilers and systems use on registers: mov, movzx, movsx, and, or, xor, add, sub, test, cmp,
//! xchg, stos, each with one memory operand. Anything else is the guest's fault. Nothing of the vCPU changes before
//! the device has answered.

#[path = "mmio_short.rs"]
mod short;

use super::alu::{Alu, truncate};
use super::paging::MAX_INSTRUCTION;
use crate::addr::GuestPhys;
use crate::virt::{Gpr, Segment, VcpuState, efer, rflags};
use iced_x86::{Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register};

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
struct Part {
    register: Gpr,
    bytes: u8,
    /// AH, CH, DH or BH.
    high: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Register(Part),
    Immediate(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
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

const REGISTERS: [Gpr; 16] = [
    Gpr::Rax,
    Gpr::Rcx,
    Gpr::Rdx,
    Gpr::Rbx,
    Gpr::Rsp,
    Gpr::Rbp,
    Gpr::Rsi,
    Gpr::Rdi,
    Gpr::R8,
    Gpr::R9,
    Gpr::R10,
    Gpr::R11,
    Gpr::R12,
    Gpr::R13,
    Gpr::R14,
    Gpr::R15,
];

/// Decodes one instruction. The first one builds the library's tables on the heap (82 KiB, once for all guests), so that a boot
/// whose guests never trap does not pay for them.
fn decode_any(bytes: &[u8], vcpu: &impl VcpuState) -> Result<Instruction, NotEmulated> {
    let code = vcpu.code_segment();
    let bitness = match (vcpu.efer() & efer::LMA != 0 && code.long, code.default32) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    };
    let bytes = bytes.get(..MAX_INSTRUCTION).unwrap_or(bytes);
    let mut decoder =
        Decoder::try_with_ip(bitness, bytes, vcpu.rip(), DecoderOptions::NONE).map_err(|_| NotEmulated)?;
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return Err(NotEmulated);
    }
    Ok(instruction)
}

/// Where the instruction in `bytes`, which is at RIP, ends: for exits where the hardware does not say.
///
/// # Errors
/// The bytes are no instruction.
pub fn next_rip(bytes: &[u8], vcpu: &impl VcpuState) -> Result<u64, NotEmulated> {
    Ok(decode_any(bytes, vcpu)?.next_ip())
}

/// Decodes the instruction in `bytes`, which is at RIP and stopped at an access of `gpa`.
///
/// # Errors
/// [`NotEmulated`], also where its memory operand is not at `gpa`: it has two, or crosses a page.
pub fn decode(bytes: &[u8], vcpu: &impl VcpuState, gpa: GuestPhys) -> Result<MmioInstruction, NotEmulated> {
    match short::decode(bytes, vcpu, gpa) {
        Some(instruction) => Ok(instruction),
        None => decode_listed(bytes, vcpu, gpa),
    }
}

/// The same for the whole list.
fn decode_listed(
    bytes: &[u8],
    vcpu: &impl VcpuState,
    gpa: GuestPhys,
) -> Result<MmioInstruction, NotEmulated> {
    let instruction = decode_any(bytes, vcpu)?;
    if instruction.has_lock_prefix() {
        return Err(NotEmulated);
    }
    let (operation, operand) = operation(&instruction)?;
    let linear = instruction.try_virtual_address(operand, 0, |register, _, _| register_value(vcpu, register));
    let bytes = memory_bytes(instruction.memory_size())?;
    let offset = linear.ok_or(NotEmulated)? & 0xfff;
    if offset != gpa.0 & 0xfff || offset + u64::from(bytes) > 0x1000 {
        return Err(NotEmulated);
    }
    Ok(MmioInstruction {
        operation,
        bytes,
        next_rip: instruction.next_ip(),
    })
}

/// What the instruction does, and which operand is in memory.
fn operation(instruction: &Instruction) -> Result<(Operation, u32), NotEmulated> {
    let memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
    let register = |operand| {
        (instruction.op_kind(operand) == OpKind::Register)
            .then(|| part(instruction.op_register(operand)))
            .flatten()
            .ok_or(NotEmulated)
    };
    let value = |operand| match register(operand) {
        Ok(part) => Ok(Value::Register(part)),
        Err(_) => instruction
            .try_immediate(operand)
            .map(Value::Immediate)
            .map_err(|_| NotEmulated),
    };
    let alu = |mnemonic| match mnemonic {
        Mnemonic::And | Mnemonic::Test => Some(Alu::And),
        Mnemonic::Or => Some(Alu::Or),
        Mnemonic::Xor => Some(Alu::Xor),
        Mnemonic::Add => Some(Alu::Add),
        Mnemonic::Sub | Mnemonic::Cmp => Some(Alu::Sub),
        _ => None,
    };
    let mnemonic = instruction.mnemonic();
    let compares = matches!(mnemonic, Mnemonic::Test | Mnemonic::Cmp);
    Ok(match (mnemonic, alu(mnemonic)) {
        (Mnemonic::Mov | Mnemonic::Movzx, _) if memory(1) => (
            Operation::Load {
                to: register(0)?,
                signed: false,
            },
            1,
        ),
        (Mnemonic::Movsx | Mnemonic::Movsxd, _) if memory(1) => (
            Operation::Load {
                to: register(0)?,
                signed: true,
            },
            1,
        ),
        (Mnemonic::Mov, _) if memory(0) => (Operation::Store(value(1)?), 0),
        (Mnemonic::Xchg, _) if memory(0) => (Operation::Exchange(register(1)?), 0),
        (_, Some(alu)) if compares && memory(0) => (
            Operation::Compare {
                alu,
                with: value(1)?,
                memory_first: true,
            },
            0,
        ),
        (_, Some(alu)) if compares && memory(1) => (
            Operation::Compare {
                alu,
                with: value(0)?,
                memory_first: false,
            },
            1,
        ),
        (_, Some(alu)) if memory(0) => (Operation::IntoMemory { alu, with: value(1)? }, 0),
        (_, Some(alu)) if memory(1) => (
            Operation::IntoRegister {
                alu,
                to: register(0)?,
            },
            1,
        ),
        (Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq, _) => {
            let address_bytes = match instruction.op0_kind() {
                OpKind::MemoryESDI => 2,
                OpKind::MemoryESEDI => 4,
                OpKind::MemoryESRDI => 8,
                _ => return Err(NotEmulated),
            };
            let repeat = instruction.has_rep_prefix() || instruction.has_repne_prefix();
            (
                Operation::Fill {
                    repeat,
                    address_bytes,
                },
                0,
            )
        }
        _ => return Err(NotEmulated),
    })
}

const fn memory_bytes(size: MemorySize) -> Result<u8, NotEmulated> {
    match size {
        MemorySize::UInt8 | MemorySize::Int8 => Ok(1),
        MemorySize::UInt16 | MemorySize::Int16 => Ok(2),
        MemorySize::UInt32 | MemorySize::Int32 => Ok(4),
        MemorySize::UInt64 | MemorySize::Int64 => Ok(8),
        _ => Err(NotEmulated),
    }
}

/// The general-purpose register behind the decoder's name, which come in the processor's order.
fn part(register: Register) -> Option<Part> {
    let at = |first: Register| (register as usize).checked_sub(first as usize);
    let find = |first, count, bytes| {
        let register = at(first)
            .filter(|at| *at < count)
            .and_then(|at| REGISTERS.get(at))?;
        Some(Part {
            register: *register,
            bytes,
            high: false,
        })
    };
    if let Some(high) = find(Register::AH, 4, 1) {
        return Some(Part { high: true, ..high });
    }
    if let Some(low) = at(Register::SPL).filter(|at| *at < 12) {
        return REGISTERS.get(low + 4).map(|register| Part {
            register: *register,
            bytes: 1,
            high: false,
        });
    }
    find(Register::AL, 4, 1)
        .or_else(|| find(Register::AX, 16, 2))
        .or_else(|| find(Register::EAX, 16, 4))
        .or_else(|| find(Register::RAX, 16, 8))
}

fn register_value(vcpu: &impl VcpuState, register: Register) -> Option<u64> {
    let long = vcpu.efer() & efer::LMA != 0 && vcpu.code_segment().long;
    let flat = |segment| if long { 0 } else { vcpu.segment_base(segment) };
    Some(match register {
        Register::ES => flat(Segment::Es),
        Register::CS => flat(Segment::Cs),
        Register::SS => flat(Segment::Ss),
        Register::DS => flat(Segment::Ds),
        Register::FS => vcpu.segment_base(Segment::Fs),
        Register::GS => vcpu.segment_base(Segment::Gs),
        _ => get(vcpu, part(register)?),
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
