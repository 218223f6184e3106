//! The decoder against a complete one (iced-x86), whose answers are held against the list of what is carried out.

use super::*;
use crate::virt::CodeSegment;
use crate::virt::fake::FakeVcpu;
use iced_x86::{Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register};
use proptest::prelude::*;

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

/// What the instruction does, and which operand is in memory.
fn operation(instruction: &Instruction) -> Result<(Operation, u32), NotEmulated> {
    let memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
    let register = |operand| {
        (instruction.op_kind(operand) == OpKind::Register)
            .then(|| part_of(instruction.op_register(operand)))
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

fn memory_bytes(size: MemorySize) -> Result<u8, NotEmulated> {
    match size {
        MemorySize::UInt8 | MemorySize::Int8 => Ok(1),
        MemorySize::UInt16 | MemorySize::Int16 => Ok(2),
        MemorySize::UInt32 | MemorySize::Int32 => Ok(4),
        MemorySize::UInt64 | MemorySize::Int64 => Ok(8),
        _ => Err(NotEmulated),
    }
}

/// The general-purpose register behind the decoder's name, which come in the processor's order.
fn part_of(register: Register) -> Option<Part> {
    let at = |first: Register| (register as usize).checked_sub(first as usize);
    let find = |first, count, bytes| {
        let register = at(first).filter(|at| *at < count).map(|at| gpr(at as u8))?;
        Some(Part {
            register,
            bytes,
            high: false,
        })
    };
    if let Some(high) = find(Register::AH, 4, 1) {
        return Some(Part { high: true, ..high });
    }
    if let Some(low) = at(Register::SPL).filter(|at| *at < 12) {
        return Some(Part {
            register: gpr(low as u8 + 4),
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
        _ => get(vcpu, part_of(register)?),
    })
}

fn get(vcpu: &impl VcpuState, part: Part) -> u64 {
    let value = vcpu.gprs().get(part.register);
    truncate(if part.high { value >> 8 } else { value }, part.bytes)
}

/// What the complete decoder makes of it.
fn oracle(bytes: &[u8], vcpu: &impl VcpuState) -> Result<Decoded, NotEmulated> {
    let instruction = decode_any(bytes, vcpu)?;
    if instruction.has_lock_prefix() {
        return Err(NotEmulated);
    }
    let (operation, operand) = operation(&instruction)?;
    let linear = instruction.try_virtual_address(operand, 0, |register, _, _| register_value(vcpu, register));
    let bytes = memory_bytes(instruction.memory_size())?;
    let cut = |value| match value {
        Value::Immediate(value) => Value::Immediate(truncate(value, bytes)),
        register => register,
    };
    let operation = match operation {
        Operation::Store(value) => Operation::Store(cut(value)),
        Operation::IntoMemory { alu, with } => Operation::IntoMemory { alu, with: cut(with) },
        Operation::Compare {
            alu,
            with,
            memory_first,
        } => Operation::Compare {
            alu,
            with: cut(with),
            memory_first,
        },
        other => other,
    };
    Ok(Decoded {
        operation,
        bytes,
        linear: linear.ok_or(NotEmulated)?,
        next_rip: instruction.next_ip(),
    })
}

/// A vCPU in one of three modes, with other numbers in all registers and segments' bases.
fn vcpu(mode: u8, seed: u64) -> FakeVcpu {
    let mut vcpu = FakeVcpu {
        rip: 0x12_3456,
        code: CodeSegment {
            long: mode == 2,
            default32: mode == 1,
            cpl: 0,
        },
        ..FakeVcpu::default()
    };
    for number in 0..16 {
        let value = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(u32::from(number) * 5);
        vcpu.gprs.set(gpr(number), value);
    }
    for (base, at) in vcpu.bases.iter_mut().zip(1u64..) {
        *base = at * 0x1_0010_0101;
    }
    vcpu
}

fn agree(bytes: &[u8], mode: u8, seed: u64) -> Result<(), TestCaseError> {
    let vcpu = vcpu(mode, seed);
    // Outside 64-bit code a linear address has 32 bits.
    let cut = |decoded: Decoded| Decoded {
        linear: if mode == 2 {
            decoded.linear
        } else {
            decoded.linear & 0xffff_ffff
        },
        ..decoded
    };
    prop_assert_eq!(
        decode(bytes, &vcpu).map(cut),
        oracle(bytes, &vcpu).map(cut),
        "{:02x?} in mode {}",
        bytes,
        mode
    );
    Ok(())
}

const PREFIXES: [u8; 11] = [0x66, 0x67, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf0];

fn prefixes() -> impl Strategy<Value = Vec<u8>> {
    let any_prefix = prop::sample::select(&PREFIXES[..]);
    prop_oneof![
        3 => Just(Vec::new()),
        3 => prop::collection::vec(any_prefix.clone(), 1..3),
        1 => prop::collection::vec(prop_oneof![any_prefix, 0x40..=0x4fu8], 1..6),
    ]
}

#[test]
fn every_opcode_and_form_of_address_decodes_as_elsewhere() {
    for mode in 0..3 {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for rex in [&[][..], &[0x48], &[0x45], &[0x66], &[0x67]] {
                    let mut bytes = rex.to_vec();
                    bytes.extend([first, second, 0x83, 0x5d, 0x11, 0x92, 0x73, 0xf4, 0x55, 0x66]);
                    agree(&bytes, mode, 7).unwrap();
                }
            }
        }
    }
}

#[test]
fn what_exits_are_left_behind_with_has_its_length() {
    for code in [
        &[0xf4][..],
        &[0xec],
        &[0x66, 0xef],
        &[0xe4, 0x60],
        &[0xe7, 0x60],
        &[0x0f, 0xa2],
        &[0x0f, 0x30],
        &[0x48, 0x0f, 0x32],
        &[0x0f, 0x08],
        &[0xf3, 0x0f, 0x09],
    ] {
        let vcpu = vcpu(2, 1);
        assert_eq!(
            next_rip(code, &vcpu),
            Ok(vcpu.rip + code.len() as u64),
            "{code:02x?}"
        );
        let cut = &code[..code.len() - 1];
        assert_eq!(next_rip(cut, &vcpu), Err(NotEmulated), "{cut:02x?}");
    }
    assert_eq!(next_rip(&[0x90], &vcpu(2, 1)), Err(NotEmulated));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_as_elsewhere(
        prefixes in prefixes(),
        rex in prop::option::of(0x40..=0x4fu8),
        bytes in prop::collection::vec(any::<u8>(), 0..14),
        mode in 0..3u8,
        seed: u64,
    ) {
        let mut code = prefixes;
        code.extend(rex);
        code.extend(bytes);
        agree(&code, mode, seed)?;
    }

    #[test]
    fn listed_opcodes_decode_as_elsewhere(
        prefixes in prefixes(),
        rex in prop::option::of(0x40..=0x4fu8),
        opcode in prop::sample::select(&OPCODES[..]),
        bytes in prop::collection::vec(any::<u8>(), 0..14),
        mode in 0..3u8,
        seed: u64,
    ) {
        let mut code = prefixes;
        code.extend(rex);
        code.extend(opcode);
        code.extend(bytes);
        agree(&code, mode, seed)?;
    }

    #[test]
    fn instructions_without_memory_end_where_they_do_elsewhere(
        prefixes in prefixes(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        start in prop::sample::select(&LEFT_BEHIND[..]),
        mode in 0..3u8,
    ) {
        let mut code = prefixes;
        code.extend(start);
        code.extend(bytes);
        let vcpu = vcpu(mode, 3);
        if let Ok(next) = next_rip(&code, &vcpu) {
            prop_assert_eq!(Ok(next), decode_any(&code, &vcpu).map(|known| known.next_ip()), "{:02x?}", code);
        }
    }
}

/// Opcodes on the list, and their neighbours.
const OPCODES: [&[u8]; 40] = [
    &[0x00],
    &[0x01],
    &[0x02],
    &[0x03],
    &[0x08],
    &[0x09],
    &[0x0a],
    &[0x0b],
    &[0x10],
    &[0x21],
    &[0x23],
    &[0x29],
    &[0x2b],
    &[0x31],
    &[0x33],
    &[0x38],
    &[0x39],
    &[0x3a],
    &[0x3b],
    &[0x63],
    &[0x80],
    &[0x81],
    &[0x82],
    &[0x83],
    &[0x84],
    &[0x85],
    &[0x86],
    &[0x87],
    &[0x88],
    &[0x89],
    &[0x8a],
    &[0x8b],
    &[0xa1],
    &[0xa2],
    &[0xc6],
    &[0xc7],
    &[0xf7],
    &[0xab],
    &[0x0f, 0xb6],
    &[0x0f, 0xbf],
];

/// Instructions that exits are left behind with.
const LEFT_BEHIND: [&[u8]; 14] = [
    &[0xf4],
    &[0xe4],
    &[0xe5],
    &[0xe6],
    &[0xe7],
    &[0xec],
    &[0xed],
    &[0xee],
    &[0xef],
    &[0x0f, 0xa2],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0x0f, 0x08],
    &[0x0f, 0x09],
];
