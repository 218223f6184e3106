//! Moves between a register or an immediate and memory, decoded by hand: they are nearly all that drivers do with
//! registers, and the end of each interrupt is one.
//!
//! Encodings by the AMD64 manual, volume 3, sections 1.2 to 1.7. What is not listed here goes to the library, with which
//! this agrees (`mmio_tests`).

use super::{MmioInstruction, Operation, Part, REGISTERS, Value};
use crate::addr::GuestPhys;
use crate::virt::{Gpr, VcpuState, efer};

/// MOV of a register to memory, of memory to a register, of an immediate to memory (with 0 in ModRM.reg).
const STORE: u8 = 0x89;
const LOAD: u8 = 0x8b;
const STORE_IMMEDIATE: u8 = 0xc7;

/// The instruction in `bytes`, which is at RIP and stopped at an access of `gpa`, if it is one of these in 64-bit mode and
/// without a prefix but REX.
pub(super) fn decode(bytes: &[u8], vcpu: &impl VcpuState, gpa: GuestPhys) -> Option<MmioInstruction> {
    if vcpu.efer() & efer::LMA == 0 || !vcpu.code_segment().long {
        return None;
    }
    let gpr = |number: u8| REGISTERS.get(usize::from(number)).copied();
    let value = |number: u8| gpr(number).map(|gpr: Gpr| vcpu.gprs().get(gpr));
    let mut rest = bytes;
    let mut next = |count: usize| -> Option<u64> {
        let (taken, behind) = rest.split_at_checked(count)?;
        rest = behind;
        Some(
            taken
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        )
    };
    let first = next(1)? as u8;
    let (rex, opcode) = if first & 0xf0 == 0x40 {
        (first, next(1)? as u8)
    } else {
        (0, first)
    };
    if !matches!(opcode, STORE | LOAD | STORE_IMMEDIATE) {
        return None;
    }
    let modrm = next(1)? as u8;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let register = modrm >> 3 & 7 | (rex & 4) << 1;
    let size = if rex & 8 != 0 { 8 } else { 4 };
    if mode == 3 || opcode == STORE_IMMEDIATE && (register != 0 || size == 8) {
        return None;
    }
    let mut displacement = [0, 1, 4].get(usize::from(mode)).copied()?;
    let (mut linear, mut relative) = (0u64, false);
    if rm == 4 {
        let sib = next(1)? as u8;
        let index = sib >> 3 & 7 | (rex & 2) << 2;
        if index != 4 {
            linear = value(index)? << (sib >> 6);
        }
        if sib & 7 == 5 && mode == 0 {
            displacement = 4;
        } else {
            linear = linear.wrapping_add(value(sib & 7 | (rex & 1) << 3)?);
        }
    } else if rm == 5 && mode == 0 {
        (displacement, relative) = (4, true);
    } else {
        linear = value(rm | (rex & 1) << 3)?;
    }
    let distance = next(displacement)?;
    let distance = match displacement {
        0 => 0,
        1 => distance as i8 as u64,
        _ => distance as i32 as u64,
    };
    linear = linear.wrapping_add(distance);
    let part = Part {
        register: gpr(register)?,
        bytes: size,
        high: false,
    };
    let operation = match opcode {
        LOAD => Operation::Load {
            to: part,
            signed: false,
        },
        STORE => Operation::Store(Value::Register(part)),
        _ => Operation::Store(Value::Immediate(next(4)?)),
    };
    let next_rip = vcpu.rip().wrapping_add((bytes.len() - rest.len()) as u64);
    if relative {
        linear = linear.wrapping_add(next_rip);
    }
    let offset = linear & 0xfff;
    (offset == gpa.0 & 0xfff && offset + u64::from(size) <= 0x1000).then_some(MmioInstruction {
        operation,
        bytes: size,
        next_rip,
    })
}
