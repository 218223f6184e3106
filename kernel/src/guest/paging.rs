//! The guest's own page tables: from a linear address to a guest physical one, and from RIP to instruction bytes.
//!
//! Only presence is looked at. The processor has checked the access's rights already; what is read here is read for
//! the instruction that it stopped at.

use super::{GuestFault, GuestMemory};
use crate::addr::GuestPhys;
use crate::virt::{Segment, VcpuState, cr0, cr4, efer};
use arrayvec::ArrayVec;
use spec::page_table::{ADDRESS, Entry, PAGE};

/// Longest instruction, in bytes.
pub const MAX_INSTRUCTION: usize = 15;

const PRESENT: u64 = Entry::PRESENT.bits();
const LARGE: u64 = Entry::LARGE.bits();

/// Translates a linear address in the guest's present paging mode; `None` where it is not mapped, where a table lies
/// outside the guest's memory, or with five levels, which CPUID does not offer.
pub fn translate(memory: &GuestMemory, vcpu: &impl VcpuState, linear: u64) -> Option<GuestPhys> {
    if vcpu.cr0() & cr0::PG == 0 {
        return Some(GuestPhys(linear & 0xffff_ffff));
    }
    if vcpu.efer() & efer::LMA != 0 {
        if vcpu.cr4() & cr4::LA57 != 0 {
            return None;
        }
        return walk(memory, vcpu.cr3() & ADDRESS, linear, 4);
    }
    let linear = linear & 0xffff_ffff;
    if vcpu.cr4() & cr4::PAE != 0 {
        let directory = entry64(memory, (vcpu.cr3() & 0xffff_ffe0) + (linear >> 30) * 8)?;
        return walk(memory, directory & ADDRESS, linear, 2);
    }
    walk32(memory, vcpu, linear)
}

fn entry64(memory: &GuestMemory, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory.read(GuestPhys(at), &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes)).filter(|entry| entry & PRESENT != 0)
}

fn entry32(memory: &GuestMemory, at: u64) -> Option<u64> {
    let mut bytes = [0; 4];
    memory.read(GuestPhys(at), &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes).into()).filter(|entry| entry & PRESENT != 0)
}

/// Tables of 64-bit entries, from `level` down.
fn walk(memory: &GuestMemory, mut table: u64, linear: u64, level: u32) -> Option<GuestPhys> {
    for level in (1..=level).rev() {
        let shift = 12 + 9 * (level - 1);
        let entry = entry64(memory, table + (linear >> shift & 0x1ff) * 8)?;
        let page = (1u64 << shift) - 1;
        if level == 1 || level < 4 && entry & LARGE != 0 {
            return Some(GuestPhys(entry & ADDRESS & !page | linear & page));
        }
        table = entry & ADDRESS;
    }
    None
}

/// Tables of 32-bit entries; a 4 MiB page has address bits 39:32 in bits 20:13 (PSE-36).
fn walk32(memory: &GuestMemory, vcpu: &impl VcpuState, linear: u64) -> Option<GuestPhys> {
    let directory = entry32(memory, (vcpu.cr3() & 0xffff_f000) + (linear >> 22) * 4)?;
    if directory & LARGE != 0 && vcpu.cr4() & cr4::PSE != 0 {
        let base = directory & 0xffc0_0000 | (directory >> 13 & 0xff) << 32;
        return Some(GuestPhys(base | linear & 0x3f_ffff));
    }
    let entry = entry32(memory, (directory & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4)?;
    Some(GuestPhys(entry & 0xffff_f000 | linear & 0xfff))
}

/// The bytes at RIP, as many as an instruction may have and the guest's tables map.
///
/// # Errors
/// [`GuestFault::Fetch`] where not even the first can be read.
pub fn fetch(
    memory: &GuestMemory,
    vcpu: &impl VcpuState,
) -> Result<ArrayVec<u8, MAX_INSTRUCTION>, GuestFault> {
    let long = vcpu.efer() & efer::LMA != 0 && vcpu.code_segment().long;
    let base = if long { 0 } else { vcpu.segment_base(Segment::Cs) };
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    let start = base.wrapping_add(vcpu.rip()) & mask;
    let mut bytes = ArrayVec::new();
    while bytes.remaining_capacity() > 0 {
        let at = start.wrapping_add(bytes.len() as u64) & mask;
        let left = (PAGE - at % PAGE).min(bytes.remaining_capacity() as u64) as usize;
        let mut part = [0; MAX_INSTRUCTION];
        let part = &mut part[..left];
        let read = translate(memory, vcpu, at).and_then(|gpa| memory.read(gpa, part).ok());
        if read.is_none() || bytes.try_extend_from_slice(part).is_err() {
            break;
        }
    }
    if bytes.is_empty() {
        return Err(GuestFault::Fetch { rip: vcpu.rip() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::memory::fake::memory;
    use super::*;
    use crate::virt::fake::FakeVcpu;

    fn put(memory: &GuestMemory, at: u64, entry: u64) {
        memory.write(GuestPhys(at), &entry.to_le_bytes()).unwrap();
    }

    /// 4 levels at 0x1000 to 0x4000: linear 0x8000_0000_5000 up to two small pages, a 2 MiB page behind them.
    fn long() -> (GuestMemory, FakeVcpu) {
        let memory = memory(4 << 20);
        put(&memory, 0x1000 + 256 * 8, 0x2000 | 3);
        put(&memory, 0x2000, 0x3000 | 3);
        put(&memory, 0x3000, 0x4000 | 3);
        put(&memory, 0x3008, 0x20_0000 | 0x83);
        put(&memory, 0x4000 + 5 * 8, 0x8000 | 3 | 1 << 63);
        put(&memory, 0x4000 + 6 * 8, 0x5000 | 3);
        let vcpu = FakeVcpu {
            cr0: cr0::PG | cr0::PE,
            cr3: 0x1000,
            cr4: cr4::PAE,
            ..FakeVcpu::default()
        };
        (memory, vcpu)
    }

    #[test]
    fn long_mode_with_small_and_large_pages() {
        let (memory, vcpu) = long();
        let at = |linear| translate(&memory, &vcpu, linear).map(|gpa| gpa.0);
        assert_eq!(at(0xffff_8000_0000_5123), Some(0x8123));
        assert_eq!(at(0xffff_8000_0020_0042), Some(0x20_0042));
        assert_eq!(at(0xffff_8000_0000_7000), None);
        assert_eq!(at(0), None);
    }

    #[test]
    fn an_instruction_may_cross_into_a_page_elsewhere() {
        let (memory, mut vcpu) = long();
        memory.write(GuestPhys(0x8ffe), &[1, 2]).unwrap();
        memory.write(GuestPhys(0x5000), &[3, 4]).unwrap();
        vcpu.rip = 0xffff_8000_0000_5ffe;
        assert_eq!(fetch(&memory, &vcpu).unwrap()[..4], [1, 2, 3, 4]);
        vcpu.rip = 0xffff_8000_0000_6ffc;
        assert_eq!(fetch(&memory, &vcpu).unwrap().len(), 4);
        vcpu.rip = 0xffff_8000_0000_7000;
        assert_eq!(fetch(&memory, &vcpu), Err(GuestFault::Fetch { rip: vcpu.rip }));
    }

    #[test]
    fn pae_32_bit_and_no_paging() {
        let memory = memory(4 << 20);
        let mut vcpu = FakeVcpu {
            efer: 0,
            cr0: cr0::PE,
            code: crate::virt::CodeSegment {
                long: false,
                default32: true,
                cpl: 0,
            },
            ..FakeVcpu::default()
        };
        assert_eq!(translate(&memory, &vcpu, 0x1_0000_1234), Some(GuestPhys(0x1234)));
        vcpu.cr0 |= cr0::PG;
        // 32-bit: directory at 0x1000, table at 0x2000, a 4 MiB page in entry 1.
        vcpu.cr3 = 0x1000;
        vcpu.cr4 = cr4::PSE;
        put(&memory, 0x1000, 0x2003 | (0x40_0083 | 1 << 13) << 32);
        put(&memory, 0x2000, 0x9003);
        assert_eq!(translate(&memory, &vcpu, 0x123), Some(GuestPhys(0x9123)));
        assert_eq!(
            translate(&memory, &vcpu, 0x40_0123),
            Some(GuestPhys(0x1_0040_0123))
        );
        assert_eq!(translate(&memory, &vcpu, 0x1000), None);
        // PAE: pointers at 0x1020, directory at 0x3000.
        vcpu.cr4 = cr4::PAE;
        vcpu.cr3 = 0x1020;
        put(&memory, 0x1020 + 3 * 8, 0x3001);
        put(&memory, 0x3000 + 511 * 8, 0x20_0083);
        assert_eq!(translate(&memory, &vcpu, 0xffff_fff0), Some(GuestPhys(0x3f_fff0)));
        vcpu.rip = 0x10;
        vcpu.bases[Segment::Cs as usize] = 0xffff_0000;
        assert_eq!(fetch(&memory, &vcpu).unwrap().len(), 15);
    }

    #[test]
    fn tables_outside_memory_are_not_followed() {
        let (memory, mut vcpu) = long();
        vcpu.cr3 = 0xb_0000;
        assert_eq!(translate(&memory, &vcpu, 0x1000), None);
        vcpu.cr3 = u64::MAX;
        assert_eq!(translate(&memory, &vcpu, 0x1000), None);
    }
}
