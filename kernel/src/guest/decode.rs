//! Reads the instructions that guests stop at: those that [`mmio`](super::mmio) carries out, and those that are left
//! behind without (`cpuid`, `in`, `hlt` and the like). Everything else is refused.
//!
//! A few opcodes, in 16-, 32- and 64-bit code, after the opcode maps of the AMD64 manual, volume 3, appendix A. Nothing is
//! built at run time and nothing allocates. A complete decoder is the tests' oracle.

use super::alu::{Alu, truncate};
use super::mmio::{NotEmulated, Operation, Part, Value};
use super::paging::MAX_INSTRUCTION;
use crate::virt::{Gpr, Segment, VcpuState, efer};

/// Where an operand in memory is, before its segment's base: base + index * scale + displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    base: Option<Gpr>,
    index: Option<(Gpr, u8)>,
    displacement: u64,
    /// Counted from the end of the instruction.
    relative: bool,
    segment: Segment,
}

/// An instruction with one operand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) operation: Operation,
    /// Bytes of the operand: 1, 2, 4 or 8.
    pub(super) bytes: u8,
    /// Linear address of the operand.
    pub(super) linear: u64,
    /// RIP behind the instruction.
    pub(super) next_rip: u64,
}

/// How code is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bits16,
    Bits32,
    Bits64,
}

impl Mode {
    fn of(vcpu: &impl VcpuState) -> Self {
        let code = vcpu.code_segment();
        match (vcpu.efer() & efer::LMA != 0 && code.long, code.default32) {
            (true, _) => Self::Bits64,
            (false, true) => Self::Bits32,
            (false, false) => Self::Bits16,
        }
    }

    /// RIP `length` bytes on.
    const fn advance(self, rip: u64, length: usize) -> u64 {
        let next = rip.wrapping_add(length as u64);
        match self {
            Self::Bits64 => next,
            Self::Bits16 | Self::Bits32 => next & 0xffff_ffff,
        }
    }
}

/// The prefixes of an instruction, and what they come to.
#[derive(Clone, Copy, Debug)]
struct Prefixes {
    /// REX, where there is one.
    rex: Option<u8>,
    repeat: bool,
    segment: Option<Segment>,
    /// Bytes of operands that are not single bytes: 2, 4 or 8.
    operand: u8,
    /// Bytes of addresses: 2, 4 or 8.
    address: u8,
}

impl Prefixes {
    /// Bit `at` of REX (W 3, R 2, X 1, B 0), as the fourth bit of a register's number.
    const fn extend(&self, at: u8) -> u8 {
        match self.rex {
            Some(rex) => (rex >> at & 1) << 3,
            None => 0,
        }
    }
}

/// The bytes that are left of an instruction.
struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let bytes = bytes.get(..MAX_INSTRUCTION).unwrap_or(bytes);
        Self { bytes, at: 0 }
    }

    fn next(&mut self) -> Result<u8, NotEmulated> {
        let byte = self.bytes.get(self.at).copied().ok_or(NotEmulated)?;
        self.at += 1;
        Ok(byte)
    }

    /// A little-endian number of `bytes` bytes, sign-extended.
    fn signed(&mut self, bytes: u8) -> Result<u64, NotEmulated> {
        let mut value = 0;
        for at in 0..bytes {
            value |= u64::from(self.next()?) << (8 * at);
        }
        let unused = 64 - 8 * u32::from(bytes);
        Ok(((value << unused) as i64 >> unused) as u64)
    }

    /// The prefixes, and the first byte of the opcode. LOCK is refused.
    fn prefixes(&mut self, mode: Mode) -> Result<(Prefixes, u8), NotEmulated> {
        let (mut rex, mut repeat, mut segment) = (None, false, None);
        let (mut other_operand, mut other_address) = (false, false);
        let opcode = loop {
            let byte = self.next()?;
            match byte {
                0x66 => other_operand = true,
                0x67 => other_address = true,
                0xf2 | 0xf3 => repeat = true,
                0x64 => segment = Some(Segment::Fs),
                0x65 => segment = Some(Segment::Gs),
                // In 64-bit code the other segments count for nothing.
                0x26 | 0x2e | 0x36 | 0x3e if mode == Mode::Bits64 => {}
                0x26 => segment = Some(Segment::Es),
                0x2e => segment = Some(Segment::Cs),
                0x36 => segment = Some(Segment::Ss),
                0x3e => segment = Some(Segment::Ds),
                0xf0 => return Err(NotEmulated),
                0x40..=0x4f if mode == Mode::Bits64 => {
                    rex = Some(byte);
                    continue;
                }
                _ => break byte,
            }
            // REX counts only right before the opcode.
            rex = None;
        };
        let operand = match (mode, other_operand) {
            (Mode::Bits64, _) if rex.is_some_and(|rex| rex & 8 != 0) => 8,
            (Mode::Bits16, true) | (Mode::Bits32 | Mode::Bits64, false) => 4,
            (Mode::Bits16, false) | (Mode::Bits32 | Mode::Bits64, true) => 2,
        };
        let address = match (mode, other_address) {
            (Mode::Bits64, false) => 8,
            (Mode::Bits64 | Mode::Bits16, true) | (Mode::Bits32, false) => 4,
            (Mode::Bits32, true) | (Mode::Bits16, false) => 2,
        };
        let prefixes = Prefixes {
            rex,
            repeat,
            segment,
            operand,
            address,
        };
        Ok((prefixes, opcode))
    }

    /// ModRM with what belongs to it: the operand in memory, and the field for a register, without REX. One that names
    /// two registers is refused.
    fn memory(&mut self, prefixes: &Prefixes, mode: Mode) -> Result<(Place, u8), NotEmulated> {
        let modrm = self.next()?;
        let (form, field, low) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
        if form == 3 {
            return Err(NotEmulated);
        }
        let mut place = if prefixes.address == 2 {
            self.memory16(form, low)?
        } else {
            self.memory32(prefixes, mode, form, low)?
        };
        if let Some(segment) = prefixes.segment {
            place.segment = segment;
        }
        Ok((place, field))
    }

    /// The 16-bit forms (manual volume 3, table A-33).
    fn memory16(&mut self, form: u8, low: u8) -> Result<Place, NotEmulated> {
        let (base, index) = match low {
            0 => (Some(Gpr::Rbx), Some(Gpr::Rsi)),
            1 => (Some(Gpr::Rbx), Some(Gpr::Rdi)),
            2 => (Some(Gpr::Rbp), Some(Gpr::Rsi)),
            3 => (Some(Gpr::Rbp), Some(Gpr::Rdi)),
            4 => (Some(Gpr::Rsi), None),
            5 => (Some(Gpr::Rdi), None),
            6 if form == 0 => (None, None),
            6 => (Some(Gpr::Rbp), None),
            _ => (Some(Gpr::Rbx), None),
        };
        let displacement = match form {
            0 if base.is_none() => self.signed(2)?,
            0 => 0,
            1 => self.signed(1)?,
            _ => self.signed(2)?,
        };
        Ok(Place {
            base,
            index: index.map(|index| (index, 1)),
            displacement,
            relative: false,
            segment: default_segment(base),
        })
    }

    /// The 32- and 64-bit forms, with SIB (tables ).
    fn memory32(&mut self, prefixes: &Prefixes, mode: Mode, form: u8, low: u8) -> Result<Place, NotEmulated> {
        let (mut base, mut index, mut relative) = (None, None, false);
        // Without a base, the first form has four bytes of displacement.
        let mut bare = false;
        if low == 4 {
            let sib = self.next()?;
            let number = sib >> 3 & 7 | prefixes.extend(1);
            if number != 4 {
                index = Some((gpr(number), 1 << (sib >> 6)));
            }
            bare = sib & 7 == 5 && form == 0;
            if !bare {
                base = Some(gpr(sib & 7 | prefixes.extend(0)));
            }
        } else if low == 5 && form == 0 {
            bare = true;
            relative = mode == Mode::Bits64;
        } else {
            base = Some(gpr(low | prefixes.extend(0)));
        }
        let displacement = match form {
            0 if bare => self.signed(4)?,
            0 => 0,
            1 => self.signed(1)?,
            _ => self.signed(4)?,
        };
        Ok(Place {
            base,
            index,
            displacement,
            relative,
            segment: default_segment(base),
        })
    }
}

const fn default_segment(base: Option<Gpr>) -> Segment {
    match base {
        Some(Gpr::Rsp | Gpr::Rbp) => Segment::Ss,
        _ => Segment::Ds,
    }
}

/// General-purpose registers by number; only the low four bits count.
const fn gpr(number: u8) -> Gpr {
    const ALL: [Gpr; 16] = [
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
    ALL[(number & 15) as usize]
}

/// The register of `bytes` bytes that ModRM's field names. Numbers 4 to 7 are AH to BH in single bytes without REX.
const fn part(field: u8, bytes: u8, prefixes: &Prefixes) -> Part {
    let high = bytes == 1 && prefixes.rex.is_none() && field >= 4;
    let number = if high {
        field - 4
    } else {
        field | prefixes.extend(2)
    };
    Part {
        register: gpr(number),
        bytes,
        high,
    }
}

/// RIP behind the instruction in `bytes`, which is at RIP and left the guest without an operand in memory: for
/// exits where the hardware does not say.
///
/// # Errors
/// [`NotEmulated`] where it is no such instruction.
pub(super) fn next_rip(bytes: &[u8], vcpu: &impl VcpuState) -> Result<u64, NotEmulated> {
    let mode = Mode::of(vcpu);
    let mut bytes = Bytes::new(bytes);
    match bytes.prefixes(mode)?.1 {
        // hlt; in and out by DX
        0xf4 | 0xec..=0xef => {}
        // in and out with a port
        0xe4..=0xe7 => {
            bytes.next()?;
        }
        0x0f => match bytes.next()? {
            // invd, wbinvd; wrmsr, rdmsr; cpuid
            0x08 | 0x09 | 0x30 | 0x32 | 0xa2 => {}
            _ => return Err(NotEmulated),
        },
        _ => return Err(NotEmulated),
    }
    Ok(mode.advance(vcpu.rip(), bytes.at))
}

/// The instruction in `bytes`, which is at RIP.
///
/// # Errors
/// [`NotEmulated`]: it is not on the list, is cut off, or has no operand in memory.
pub(super) fn decode(bytes: &[u8], vcpu: &impl VcpuState) -> Result<Decoded, NotEmulated> {
    let mode = Mode::of(vcpu);
    let mut bytes = Bytes::new(bytes);
    let (prefixes, opcode) = bytes.prefixes(mode)?;
    let wide = if opcode & 1 == 0 { 1 } else { prefixes.operand };
    let (operation, size, place) = match opcode {
        0x0f => extending(&mut bytes, &prefixes, mode)?,
        0x63 if mode == Mode::Bits64 => {
            let (place, field) = bytes.memory(&prefixes, mode)?;
            let to = part(field, prefixes.operand, &prefixes);
            (
                Operation::Load { to, signed: true },
                prefixes.operand.min(4),
                place,
            )
        }
        0xa0..=0xa3 => {
            let place = Place {
                base: None,
                index: None,
                displacement: bytes.signed(prefixes.address)?,
                relative: false,
                segment: prefixes.segment.unwrap_or(Segment::Ds),
            };
            let accumulator = Part {
                register: Gpr::Rax,
                bytes: wide,
                high: false,
            };
            let operation = if opcode < 0xa2 {
                load(accumulator)
            } else {
                Operation::Store(Value::Register(accumulator))
            };
            (operation, wide, place)
        }
        0xaa | 0xab => {
            let place = Place {
                base: Some(Gpr::Rdi),
                index: None,
                displacement: 0,
                relative: false,
                segment: Segment::Es,
            };
            let fill = Operation::Fill {
                repeat: prefixes.repeat,
                address_bytes: prefixes.address,
            };
            (fill, wide, place)
        }
        _ => {
            let (place, field) = bytes.memory(&prefixes, mode)?;
            let with = Group { opcode, field, wide };
            (with.operation(&mut bytes, &prefixes, mode)?, wide, place)
        }
    };
    let next_rip = mode.advance(vcpu.rip(), bytes.at);
    Ok(Decoded {
        operation,
        bytes: size,
        linear: linear(vcpu, &place, prefixes.address, next_rip, mode),
        next_rip,
    })
}

const fn load(to: Part) -> Operation {
    Operation::Load { to, signed: false }
}

/// movzx and movsx.
fn extending(
    bytes: &mut Bytes<'_>,
    prefixes: &Prefixes,
    mode: Mode,
) -> Result<(Operation, u8, Place), NotEmulated> {
    let opcode = bytes.next()?;
    let signed = match opcode {
        0xb6 | 0xb7 => false,
        0xbe | 0xbf => true,
        _ => return Err(NotEmulated),
    };
    let (place, field) = bytes.memory(prefixes, mode)?;
    let to = Part {
        register: gpr(field | prefixes.extend(2)),
        bytes: prefixes.operand,
        high: false,
    };
    Ok((Operation::Load { to, signed }, 1 << (opcode & 1), place))
}

/// An opcode with ModRM: the field for a register names one, or tells instructions of one opcode apart.
struct Group {
    opcode: u8,
    field: u8,
    /// Bytes of the operands.
    wide: u8,
}

impl Group {
    /// An immediate of `length` bytes in the code, extended to the operands' size.
    fn immediate(&self, bytes: &mut Bytes<'_>, length: u8) -> Result<Value, NotEmulated> {
        Ok(Value::Immediate(truncate(bytes.signed(length)?, self.wide)))
    }

    fn operation(
        &self,
        bytes: &mut Bytes<'_>,
        prefixes: &Prefixes,
        mode: Mode,
    ) -> Result<Operation, NotEmulated> {
        let register = part(self.field, self.wide, prefixes);
        // 64-bit operands have four bytes of immediate, too.
        let long = self.wide.min(4);
        Ok(match (self.opcode, self.field) {
            (0x88 | 0x89, _) => Operation::Store(Value::Register(register)),
            (0x8a | 0x8b, _) => load(register),
            (0xc6 | 0xc7, 0) => Operation::Store(self.immediate(bytes, long)?),
            (0x86 | 0x87, _) => Operation::Exchange(register),
            (0x84 | 0x85, _) => compare(Alu::And, Value::Register(register), true),
            (0xf6 | 0xf7, 0 | 1) => compare(Alu::And, self.immediate(bytes, long)?, true),
            (0x80 | 0x81, _) => into_memory(self.field, self.immediate(bytes, long)?)?,
            (0x82, _) if mode != Mode::Bits64 => into_memory(self.field, self.immediate(bytes, 1)?)?,
            (0x83, _) => into_memory(self.field, self.immediate(bytes, 1)?)?,
            (0x00..=0x3f, _) if self.opcode & 7 < 2 => {
                into_memory(self.opcode >> 3, Value::Register(register))?
            }
            (0x00..=0x3f, _) if self.opcode & 7 < 4 => match arithmetic(self.opcode >> 3)? {
                (alu, true) => compare(alu, Value::Register(register), false),
                (alu, false) => Operation::IntoRegister { alu, to: register },
            },
            _ => return Err(NotEmulated),
        })
    }
}

/// The eight operations in the order of their numbers, without those that need the carry; whether the result is
/// thrown away.
const fn arithmetic(number: u8) -> Result<(Alu, bool), NotEmulated> {
    Ok(match number {
        0 => (Alu::Add, false),
        1 => (Alu::Or, false),
        4 => (Alu::And, false),
        5 => (Alu::Sub, false),
        6 => (Alu::Xor, false),
        7 => (Alu::Sub, true),
        _ => return Err(NotEmulated),
    })
}

fn into_memory(number: u8, with: Value) -> Result<Operation, NotEmulated> {
    Ok(match arithmetic(number)? {
        (alu, true) => compare(alu, with, true),
        (alu, false) => Operation::IntoMemory { alu, with },
    })
}

const fn compare(alu: Alu, with: Value, memory_first: bool) -> Operation {
    Operation::Compare {
        alu,
        with,
        memory_first,
    }
}

fn linear(vcpu: &impl VcpuState, place: &Place, address_bytes: u8, next_rip: u64, mode: Mode) -> u64 {
    let mut offset = place.displacement;
    if place.relative {
        offset = offset.wrapping_add(next_rip);
    }
    if let Some(base) = place.base {
        offset = offset.wrapping_add(vcpu.gprs().get(base));
    }
    if let Some((index, scale)) = place.index {
        offset = offset.wrapping_add(vcpu.gprs().get(index).wrapping_mul(scale.into()));
    }
    let offset = truncate(offset, address_bytes);
    match (mode, place.segment) {
        (Mode::Bits64, Segment::Fs | Segment::Gs) | (Mode::Bits16 | Mode::Bits32, _) => {
            offset.wrapping_add(vcpu.segment_base(place.segment))
        }
        (Mode::Bits64, _) => offset,
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
