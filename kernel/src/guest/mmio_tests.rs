//! Encodings with known effects, and bytes without any sense.

use super::*;
use crate::virt::fake::FakeVcpu;
use proptest::prelude::*;

const AT: GuestPhys = GuestPhys(0xfee0_0300);

/// Runs `code` with RBX at the register, which reads `memory`; returns the vCPU and what was written.
fn run(code: &[u8], memory: u64, set_up: impl FnOnce(&mut FakeVcpu)) -> (FakeVcpu, Vec<Option<u64>>) {
    let mut vcpu = FakeVcpu {
        rip: 0x1000,
        ..FakeVcpu::default()
    };
    vcpu.gprs.set(Gpr::Rbx, AT.0);
    vcpu.gprs.set(Gpr::Rax, 0x1122_3344_5566_7788);
    set_up(&mut vcpu);
    let decoded = decode(code, &vcpu, AT).unwrap();
    let mut writes = Vec::new();
    decoded
        .execute(&mut vcpu, AT, |access| {
            assert_eq!(access.gpa, AT);
            writes.push(access.write);
            Ok::<_, ()>(memory)
        })
        .unwrap();
    (vcpu, writes)
}

#[test]
fn loads_extend_as_the_processor_does() {
    for (code, memory, rax) in [
        (&[0x8b, 0x03][..], 0xdead_beef, 0xdead_beef), // mov eax, [rbx]
        (&[0x48, 0x8b, 0x03], 0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef), // mov rax, [rbx]
        (&[0x66, 0x8b, 0x03], 0xaaaa_bbbb, 0x1122_3344_5566_bbbb), // mov ax, [rbx]
        (&[0x8a, 0x23], 0x99, 0x1122_3344_5566_9988),  // mov ah, [rbx]
        (&[0x0f, 0xb6, 0x03], 0xff80, 0x80),           // movzx eax, byte [rbx]
        (&[0x0f, 0xbe, 0x03], 0x80, 0xffff_ff80),      // movsx eax, byte [rbx]
        (&[0x48, 0x0f, 0xbf, 0x03], 0x8000, 0xffff_ffff_ffff_8000), // movsx rax, word [rbx]
        (&[0x48, 0x63, 0x03], 0x8000_0000, 0xffff_ffff_8000_0000), // movsxd rax, [rbx]
        (&[0x0b, 0x03], 0x0100_0000, 0x5566_7788 | 0x0100_0000), // or eax, [rbx]
        (&[0x87, 0x03], 0x42, 0x42),                   // xchg [rbx], eax
    ] {
        let (vcpu, _) = run(code, memory, |_| {});
        assert_eq!(vcpu.gprs.get(Gpr::Rax), rax, "{code:x?}");
        assert_eq!(vcpu.rip, 0x1000 + code.len() as u64);
    }
}

#[test]
fn stores_write_the_operand_and_only_read_where_the_processor_does() {
    for (code, accesses) in [
        (&[0x89, 0x03][..], vec![Some(0x5566_7788)]), // mov [rbx], eax
        (&[0x88, 0x23], vec![Some(0x77)]),            // mov [rbx], ah
        (&[0xc7, 0x03, 1, 0, 0, 0x80], vec![Some(0x8000_0001)]), // mov dword [rbx], imm
        (&[0x48, 0xc7, 0x03, 0xff, 0xff, 0xff, 0xff], vec![Some(u64::MAX)]), // mov qword [rbx], -1
        (&[0x83, 0x0b, 0x04], vec![None, Some(0x14)]), // or dword [rbx], 4
        (&[0x81, 0x23, 0, 0, 0, 0xff], vec![None, Some(0)]), // and dword [rbx], imm
        (&[0x01, 0x03], vec![None, Some(0x5566_7798)]), // add [rbx], eax
        (&[0x87, 0x03], vec![None, Some(0x5566_7788)]), // xchg [rbx], eax
        (&[0xf7, 0x03, 0x10, 0, 0, 0], vec![None]),   // test dword [rbx], 0x10
    ] {
        let (_, seen) = run(code, 0x10, |_| {});
        assert_eq!(seen, accesses, "{code:x?}");
    }
}

#[test]
fn comparisons_leave_flags_alone_to_tell() {
    let flags = |code: &[u8], memory| run(code, memory, |_| {}).0.rflags & (rflags::ZF | rflags::CF);
    assert_eq!(flags(&[0x83, 0x3b, 0x05], 5), rflags::ZF); // cmp dword [rbx], 5
    assert_eq!(flags(&[0x83, 0x3b, 0x05], 4), rflags::CF);
    assert_eq!(flags(&[0x3b, 0x03], u64::from(u32::MAX)), rflags::CF); // cmp eax, [rbx]
    assert_eq!(flags(&[0x85, 0x03], 0x8000_0000), rflags::ZF); // test [rbx], eax
}

#[test]
fn repeated_stores_take_one_exit_an_element() {
    let at_rdi = |vcpu: &mut FakeVcpu| {
        vcpu.gprs.set(Gpr::Rdi, AT.0);
        vcpu.gprs.set(Gpr::Rcx, 2);
    };
    let (mut vcpu, writes) = run(&[0xf3, 0xab], 0, at_rdi); // rep stosd
    assert_eq!(writes, [Some(0x5566_7788)]);
    assert_eq!(
        (vcpu.rip, vcpu.gprs.get(Gpr::Rcx), vcpu.gprs.get(Gpr::Rdi)),
        (0x1000, 1, AT.0 + 4)
    );
    let next = GuestPhys(AT.0 + 4);
    let second = decode(&[0xf3, 0xab], &vcpu, next).unwrap();
    second.execute(&mut vcpu, next, |_| Ok::<_, ()>(0)).unwrap();
    assert_eq!((vcpu.rip, vcpu.gprs.get(Gpr::Rcx)), (0x1002, 0));
}

#[test]
fn addresses_are_computed_and_compared() {
    let mut vcpu = FakeVcpu::default();
    vcpu.gprs.set(Gpr::Rsi, AT.0 - 0x100);
    vcpu.gprs.set(Gpr::Rcx, 0x40);
    let code = [0x8b, 0x04, 0x8e]; // mov eax, [rsi + 4 * rcx]
    assert!(decode(&code, &vcpu, AT).is_ok());
    assert_eq!(decode(&code, &vcpu, GuestPhys(AT.0 + 4)), Err(NotEmulated));
    vcpu.gprs.set(Gpr::Rbx, AT.0 & !0xfff | 0xffe);
    let crossing = GuestPhys(vcpu.gprs.get(Gpr::Rbx));
    assert_eq!(decode(&[0x8b, 0x03], &vcpu, crossing), Err(NotEmulated));
}

#[test]
fn protected_mode_uses_segments_and_its_own_sizes() {
    let mut vcpu = FakeVcpu {
        efer: 0,
        code: crate::virt::CodeSegment {
            long: false,
            default32: true,
            cpl: 0,
        },
        ..FakeVcpu::default()
    };
    vcpu.bases[Segment::Ds as usize] = 0x300;
    vcpu.gprs.set(Gpr::Rbx, AT.0 - 0x300);
    assert_eq!(decode(&[0x89, 0x03], &vcpu, AT).unwrap().bytes, 4);
    vcpu.code.default32 = false;
    vcpu.gprs.set(Gpr::Rbx, 0);
    assert_eq!(decode(&[0x89, 0x07], &vcpu, AT).unwrap().bytes, 2); // mov [bx], ax
}

#[test]
fn what_is_not_listed_is_refused() {
    let mut vcpu = FakeVcpu::default();
    vcpu.gprs.set(Gpr::Rbx, AT.0);
    vcpu.gprs.set(Gpr::Rsi, AT.0);
    vcpu.gprs.set(Gpr::Rdi, AT.0);
    for code in [
        &[0xf0, 0x83, 0x0b, 0x04][..], // lock or
        &[0xa4],                       // movsb
        &[0x0f, 0x10, 0x03],           // movups xmm0, [rbx]
        &[0xff, 0x33],                 // push [rbx]
        &[0xff, 0x03],                 // inc [rbx]
        &[0x0f, 0xb1, 0x03],           // cmpxchg
        &[0x8c, 0x03],                 // mov [rbx], es
        &[0x90],                       // nop
        &[0x8b],                       // cut off
        &[],
    ] {
        assert_eq!(decode(code, &vcpu, AT), Err(NotEmulated), "{code:x?}");
    }
}

#[test]
fn a_device_that_refuses_leaves_the_vcpu_as_it_was() {
    let mut vcpu = FakeVcpu::default();
    vcpu.gprs.set(Gpr::Rbx, AT.0);
    let before = vcpu.clone();
    let code = decode(&[0x83, 0x0b, 0x04], &vcpu, AT).unwrap();
    let refuse_write = |access: Access| if access.write.is_some() { Err(()) } else { Ok(7) };
    assert_eq!(code.execute(&mut vcpu, AT, refuse_write), Err(()));
    assert_eq!(
        (vcpu.rip, vcpu.rflags, vcpu.gprs),
        (before.rip, before.rflags, before.gprs)
    );
}

#[test]
fn every_byte_register_is_found_under_its_own_name() {
    assert_eq!(part(Register::AL).unwrap().register, Gpr::Rax);
    assert_eq!(part(Register::SPL).unwrap().register, Gpr::Rsp);
    assert_eq!(part(Register::R15L).unwrap().register, Gpr::R15);
    assert_eq!(
        part(Register::R8D).unwrap(),
        Part {
            register: Gpr::R8,
            bytes: 4,
            high: false
        }
    );
    assert!(part(Register::BH).unwrap().high && part(Register::BH).unwrap().register == Gpr::Rbx);
    assert_eq!(part(Register::RIP), None);
    assert_eq!(part(Register::XMM0), None);
}

proptest! {
    #[test]
    fn no_bytes_upset_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..20), rbx: u64, long: bool) {
        let mut vcpu = FakeVcpu::default();
        vcpu.code.long = long;
        vcpu.gprs.set(Gpr::Rbx, rbx);
        if let Ok(code) = decode(&bytes, &vcpu, GuestPhys(rbx)) {
            let _ = code.execute(&mut vcpu, GuestPhys(rbx), |_| Ok::<_, ()>(rbx));
        }
    }
}

#[test]
fn what_drivers_do_most_is_decoded_by_hand() {
    let mut vcpu = FakeVcpu {
        rip: 0x1000,
        ..FakeVcpu::default()
    };
    vcpu.gprs.set(Gpr::Rbx, AT.0);
    vcpu.gprs.set(Gpr::Rsi, AT.0 - 0x40);
    for code in [
        &[0x8b, 0x03][..],                                    // mov eax, [rbx]
        &[0x44, 0x89, 0x4b, 0],                               // mov [rbx + 0], r9d
        &[0x48, 0x89, 0x46, 0x40],                            // mov [rsi + 64], rax
        &[0xc7, 0x04, 0x25, 0, 0x03, 0x5f, 0xff, 1, 2, 3, 4], // mov dword [0xffffffffff5f0300], 0x04030201
        &[0x8b, 0x05, 0xfa, 0xf2, 0xff, 0xff],                // mov eax, [rip - 0xd06]
        &[0x89, 0xb4, 0x23, 0, 0x10, 0, 0],                   // mov [rbx + 0x1000], esi
    ] {
        let found = short::decode(code, &vcpu, AT);
        assert_eq!(found, decode_listed(code, &vcpu, AT).ok(), "{code:x?}");
        assert!(found.is_some(), "{code:x?}");
    }
    for other in [
        &[0x66, 0x89, 0x03][..],
        &[0x65, 0x8b, 0x03],
        &[0x8b, 0xc3],
        &[0x8b],
        &[0x03, 0x03],
        &[],
    ] {
        assert_eq!(short::decode(other, &vcpu, AT), None, "{other:x?}");
    }
    vcpu.code.long = false;
    assert_eq!(short::decode(&[0x8b, 0x03], &vcpu, AT), None);
}

proptest! {
    /// Wherever the short decoder has an answer, it is the library's.
    #[test]
    fn the_short_decoder_agrees_with_the_library(
        rex in prop::option::of(0x40u8..0x50),
        opcode in prop::sample::select(vec![0x89u8, 0x8b, 0xc7]),
        tail in prop::collection::vec(any::<u8>(), 0..12),
        registers in prop::array::uniform16(any::<u64>()),
        rip in any::<u64>(),
    ) {
        let mut vcpu = FakeVcpu { rip, ..FakeVcpu::default() };
        for (register, value) in REGISTERS.iter().zip(registers) {
            vcpu.gprs.set(*register, value);
        }
        let code: Vec<u8> = rex.into_iter().chain([opcode]).chain(tail).collect();
        for offset in 0..0x1000 {
            let gpa = GuestPhys(0x1_0000 + offset);
            if let Some(found) = short::decode(&code, &vcpu, gpa) {
                prop_assert_eq!(Ok(found), decode_listed(&code, &vcpu, gpa));
            }
        }
    }
}
