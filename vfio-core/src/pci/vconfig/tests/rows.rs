//! Each register with its own rules.

use super::*;
use crate::pci::irq::MsiRegisters;
use crate::pci::spec::Command;

#[test]
fn only_what_is_known_is_in_the_lists() {
    let (fake, space) = everything();
    assert_eq!(space.walk(&fake), [0x01, 0x05, 0x11, 0x03, 0x09, 0x10, 0x13]);
    assert_eq!(space.get(&fake, header::CAPABILITIES), at::PM.into());
    assert_eq!(space.walk_extended(&fake), [0, 0x01, 0x03, 0x04, 0x10]);
    assert_eq!(
        space.get(&fake, at::HIDDEN),
        u32::from(at::AER) << 20,
        "a placeholder with a pointer and nothing else"
    );
    for hidden in [
        at::SSVID,
        at::SSVID + 4,
        at::PASID,
        at::PASID + 4,
        at::HIDDEN + 4,
        0x300,
    ] {
        assert_eq!(space.get(&fake, hidden), 0, "{hidden:#x}");
    }
}

#[test]
fn what_is_not_offered_is_not_there() {
    let (fake, function) = rich();
    let bare = VirtualConfig::new(
        &fake,
        &function,
        &Options {
            hide: &[0x03],
            hide_extended: &[0x10],
            multi_function: true,
            ..Options::default()
        },
    );
    assert_eq!(
        bare.walk(&fake),
        [0x01, 0x11, 0x09, 0x10, 0x13],
        "MSI needs vectors"
    );
    assert_eq!(
        bare.walk_extended(&fake),
        [0, 0x01, 0x04],
        "a serial number needs one"
    );
    assert_eq!(bare.get(&fake, header::INTERRUPT_LINE), 0x0000_0000, "no pin");
    assert_eq!(
        bare.get(&fake, header::COMMAND) >> 16,
        0xa010,
        "INTx is never pending"
    );
    assert_eq!(bare.get(&fake, at::EXPRESS + 4), 2, "no FLR");
    assert_eq!(bare.get(&fake, at::AF) >> 24, 0, "no FLR");
    assert_eq!(bare.get(&fake, at::PM) >> 16, 0x0003, "no D1, no D2, no PME");
    assert_eq!(bare.get(&fake, header::CACHE_LINE_SIZE) >> 16, 0x80);
    assert_eq!(bare.get(&fake, header::BAR0), 0);
    assert_eq!(bare.msi(), None);
}

#[test]
fn the_header_is_the_devices_but_for_what_is_virtual() {
    let (fake, mut space) = everything();
    assert_eq!(space.get(&fake, header::VENDOR_ID), 0x0010_1b36);
    assert_eq!(space.get(&fake, header::CLASS_REVISION), 0x0108_0201);
    assert_eq!(space.get(&fake, header::COMMAND), 0xa018_0002);
    assert_eq!(space.get(&fake, header::INTERRUPT_LINE), 0x0200);
    space.set32(&fake, header::INTERRUPT_LINE, u32::MAX);
    assert_eq!(
        space.get(&fake, header::INTERRUPT_LINE),
        0x02ff,
        "only the line is the guest's"
    );
    for fixed in [
        header::VENDOR_ID,
        header::CLASS_REVISION,
        header::SUBSYSTEM,
        header::CAPABILITIES,
    ] {
        let before = space.get(&fake, fixed);
        assert_eq!(space.set32(&fake, fixed, !before), []);
        assert_eq!(space.get(&fake, fixed), before);
    }
    assert_eq!(*fake.writes.borrow(), []);
    space.set32(&fake, header::CACHE_LINE_SIZE, 0xffff_4010);
    assert_eq!(*fake.writes.borrow(), [(0xc, Width::Word, 0x4010)], "no BIST");
}

#[test]
fn command_says_what_changed_and_keeps_intx_from_the_hardware() {
    let (fake, mut space) = everything();
    let effects = space.set16(&fake, header::COMMAND, 0x0547);
    assert_eq!(
        effects,
        [
            Effect::BusMaster(true),
            Effect::LineDisabled(true),
            Effect::Decode {
                memory: true,
                io: true
            }
        ]
    );
    // INTx is held back until the caller lets it through; errors and parity stay with the guest.
    assert_eq!(fake.dword(header::COMMAND), 0xa018_0407);
    assert_eq!(space.get(&fake, header::COMMAND) as u16, 0x0547);
    assert_eq!(space.set16(&fake, header::COMMAND, 0x0547), []);
    assert!(space.mask_line(&fake, false));
    assert_eq!(fake.dword(header::COMMAND) as u16, 0x0007);
    assert!(space.turns_memory_off(header::COMMAND, Width::Byte, 5));
    assert!(!space.turns_memory_off(header::COMMAND, Width::Byte, 6));
    assert!(!space.turns_memory_off(header::COMMAND + 1, Width::Byte, 0));
    assert!(!space.turns_memory_off(header::STATUS, Width::Word, 0));
    let effects = space.write(&fake, header::COMMAND, Width::Byte, 4).unwrap();
    assert_eq!(
        effects[..],
        [Effect::Decode {
            memory: false,
            io: false
        }]
    );
    assert!(
        !space.turns_memory_off(header::COMMAND, Width::Byte, 0),
        "it is off"
    );
    assert_eq!(
        fake.dword(header::COMMAND),
        0xa018_0004,
        "status is never written"
    );
    assert_eq!(space.set16(&fake, header::STATUS, 0xffff), []);
    assert_eq!(fake.dword(header::COMMAND), 0xa018_0004);
}

#[test]
fn power_states_are_asked_for_and_pme_does_not_exist() {
    let (fake, mut space) = everything();
    assert_eq!(space.get(&fake, at::PM) >> 16, 0x0603, "D1, D2, version 3");
    assert_eq!(space.get(&fake, at::PM + 4), 0x0040_0008, "no PME, no data");
    assert_eq!(
        space.set16(&fake, at::PM + 4, 0x8103),
        [Effect::Power(PowerState::D3hot)]
    );
    assert_eq!(space.get(&fake, at::PM + 4) & 3, 0, "not yet");
    space.set_power_state(PowerState::D3hot);
    assert_eq!(space.get(&fake, at::PM + 4) & 3, 3);
    assert_eq!(space.set16(&fake, at::PM + 4, 3), []);
    assert_eq!(space.set16(&fake, at::PM + 6, 0xffff), []);
    assert_eq!(space.set16(&fake, at::PM + 4, 1), [Effect::Power(PowerState::D1)]);
    assert_eq!(*fake.writes.borrow(), []);
}

#[test]
fn d1_is_for_those_that_have_it() {
    let (fake, function) = rich();
    fake.put(at::PM, fake.dword(at::PM) & !(3 << 25));
    let mut space = space(&fake, &function, BarPolicy::Fixed);
    assert_eq!(space.set16(&fake, at::PM + 4, 1), []);
    assert_eq!(space.set16(&fake, at::PM + 4, 2), []);
    assert_eq!(
        space.set16(&fake, at::PM + 4, 3),
        [Effect::Power(PowerState::D3hot)]
    );
}

#[test]
fn device_control_keeps_payload_and_raises_read_requests() {
    let (fake, mut space) = everything();
    let control = at::EXPRESS + 8;
    assert_eq!(space.get(&fake, at::EXPRESS + 4), 1 << 28 | 2);
    assert_eq!(space.get(&fake, control), 0x2030);
    // MRRS 128 B below MPS 256 B; MPS 4096 B stays virtual; phantom functions are dropped.
    assert_eq!(space.set16(&fake, control, 0x02af), []);
    assert_eq!(space.get(&fake, control) & 0x70e0, 0x00a0);
    assert_eq!(
        fake.dword(control),
        0x102f,
        "MRRS 256 B, MPS 256 B, the rest as written"
    );
    assert_eq!(space.set16(&fake, control, 0x7000), []);
    assert_eq!(fake.dword(control), 0x5020, "4096 B are the largest request");
    assert_eq!(space.set16(&fake, control, 0x8000), [Effect::Reset]);
    assert_eq!(space.get(&fake, control) & 0x8000, 0);
    assert!(
        fake.writes
            .borrow()
            .iter()
            .all(|(_, _, value)| value & 0x8000 == 0)
    );
    assert_eq!(space.set32(&fake, at::EXPRESS + 0x28, u32::MAX), []);
    assert_eq!(fake.dword(at::EXPRESS + 0x28), 0xffdf, "no ARI forwarding");
    let before = fake.dword(at::EXPRESS + 0x10);
    space.set32(&fake, at::EXPRESS + 0x10, u32::MAX);
    assert_eq!(
        fake.dword(at::EXPRESS + 0x10),
        before,
        "the link is not the guest's"
    );
}

#[test]
fn advanced_features_reset() {
    let (fake, mut space) = everything();
    assert_eq!(space.get(&fake, at::AF) >> 24, 3);
    assert_eq!(
        space.write(&fake, at::AF + 4, Width::Byte, 1).unwrap()[..],
        [Effect::Reset]
    );
    assert_eq!(space.set32(&fake, at::AF + 4, 0xffff_fffe), []);
    assert_eq!(space.get(&fake, at::AF + 4), 0);
    assert_eq!(*fake.writes.borrow(), []);
}

#[test]
fn msi_is_kept_for_the_guest_with_a_limit() {
    let (fake, mut space) = everything();
    // 4 of 8 vectors.
    assert_eq!(space.get(&fake, at::MSI) >> 16, 0x0184);
    assert_eq!(
        space.get(&fake, at::MSI + 4),
        0,
        "the host's address does not show"
    );
    space.set32(&fake, at::MSI + 4, 0xfee0_1003);
    space.set32(&fake, at::MSI + 8, 1);
    space.set32(&fake, at::MSI + 12, u32::MAX);
    space.set32(&fake, at::MSI + 16, u32::MAX);
    let effects = space.set16(&fake, at::MSI + 2, 0x0071);
    let registers = MsiRegisters {
        enabled: true,
        vectors: 4,
        address: 0x1_fee0_1000,
        data: 0xffff,
        mask: 0xf,
    };
    assert_eq!(effects, [Effect::Msi(registers)]);
    assert_eq!(
        space.get(&fake, at::MSI) >> 16,
        0x01a5,
        "32 vectors are asked for, 4 are given"
    );
    assert_eq!(space.set16(&fake, at::MSI + 2, 0x0071), []);
    assert_eq!(
        space.get(&fake, at::MSI + 20),
        0xf,
        "pending bits are the hardware's"
    );
    space.clear_msi();
    assert!(!space.msi().unwrap().enabled);
    assert_eq!(*fake.writes.borrow(), []);
}

#[test]
fn msix_control_is_told_and_its_place_is_what_discovery_checked() {
    let (fake, mut space) = everything();
    fake.put(at::MSIX + 4, 0xdead_beef);
    assert_eq!(space.get(&fake, at::MSIX + 4), 0x2000);
    assert_eq!(space.get(&fake, at::MSIX + 8), 0x3000);
    assert_eq!(space.get(&fake, at::MSIX) >> 16, 64);
    let effects = space.set16(&fake, at::MSIX + 2, 0xffff);
    assert_eq!(
        effects,
        [Effect::Msix {
            enabled: true,
            masked: true
        }]
    );
    assert_eq!(space.msix(), Some((true, true)));
    assert_eq!(space.get(&fake, at::MSIX) >> 16, 0xc040);
    space.clear_msix();
    assert_eq!(space.msix(), Some((false, true)));
    assert_eq!(*fake.writes.borrow(), []);
}

#[test]
fn vpd_is_accessed_by_whoever_may() {
    let (fake, mut space) = everything();
    assert_eq!(
        space.get(&fake, at::VPD + 4),
        0,
        "the hardware's data does not show"
    );
    let read = VpdAccess {
        address: 0x124,
        write: None,
    };
    assert_eq!(space.set16(&fake, at::VPD + 2, 0x0126), [Effect::Vpd(read)]);
    assert_eq!(
        space.get(&fake, at::VPD) >> 16,
        0x0126,
        "the flag comes when the data is there"
    );
    space.vpd_done(read, 0x1234_5678);
    assert_eq!(space.get(&fake, at::VPD) >> 16, 0x8126);
    assert_eq!(space.get(&fake, at::VPD + 4), 0x1234_5678);
    assert_eq!(space.set32(&fake, at::VPD + 4, 9), []);
    let write = VpdAccess {
        address: 0x7ffc,
        write: Some(9),
    };
    assert_eq!(space.set16(&fake, at::VPD + 2, 0xffff), [Effect::Vpd(write)]);
    space.vpd_done(write, 0);
    assert_eq!(space.get(&fake, at::VPD) >> 16, 0x7fff);
    assert_eq!(*fake.writes.borrow(), []);
}

#[test]
fn errors_are_cleared_one_by_one() {
    let (mut fake, function) = rich();
    fake.clears = std::vec![(at::AER + 4, u32::MAX), (at::AER + 0x10, u32::MAX)];
    let mut space = space(&fake, &function, BarPolicy::Fixed);
    space.set32(&fake, at::AER + 4, 1 << 20 | 1 << 31);
    assert_eq!(
        fake.dword(at::AER + 4),
        !(1 << 20),
        "what is not listed is not cleared"
    );
    space.write(&fake, at::AER + 0x11, Width::Byte, 0x01).unwrap();
    assert_eq!(fake.dword(at::AER + 0x10), !(1 << 8));
    space.set32(&fake, at::AER + 8, 0);
    assert_eq!(fake.dword(at::AER + 8), !0x03ff_f031);
    space.set32(&fake, at::AER + 0x18, 0);
    assert_eq!(fake.dword(at::AER + 0x18), !0x140);
    space.set32(&fake, at::AER + 0x1c, 0);
    assert_eq!(fake.dword(at::AER + 0x1c), u32::MAX, "the log is read-only");
    assert_eq!(space.get(&fake, at::AER + 0x3c), u32::MAX);
}

#[test]
fn the_serial_number_is_not_the_hosts_and_virtual_functions_are_somewhere_else() {
    let (fake, mut space) = everything();
    assert_eq!(space.get(&fake, at::SERIAL + 4), 8);
    assert_eq!(space.get(&fake, at::SERIAL + 8), 0x0200_0000);
    space.set32(&fake, at::POWER + 4, u32::MAX);
    assert_eq!(fake.dword(at::POWER + 4), 0xff);
    assert_eq!(space.get(&fake, at::SRIOV + 0x20), 9);
    assert_eq!(space.get(&fake, at::SRIOV + 0x24), 0);
    assert_eq!(space.get(&fake, at::SRIOV + 0x3c), 9);
}

#[test]
fn vendor_registers_are_read_only_unless_offered() {
    let (fake, function) = rich();
    let mut space = space(&fake, &function, BarPolicy::Fixed);
    assert_eq!(space.get(&fake, at::VENDOR + 4), 0x0504_0302);
    assert_eq!(space.get(&fake, at::VENDOR + 8), 0x0706, "10 bytes long");
    space.set32(&fake, at::VENDOR + 4, 0);
    assert_eq!(*fake.writes.borrow(), []);
    let options = Options {
        offer: Offer::VENDOR_WRITES,
        ..Options::default()
    };
    let mut space = VirtualConfig::new(&fake, &function, &options);
    space.set32(&fake, at::VENDOR, 0);
    space.set32(&fake, at::VENDOR + 4, 0);
    space.set32(&fake, at::VENDOR + 8, 0xaaaa_bbbb);
    assert_eq!(fake.dword(at::VENDOR) >> 16, 0x010a);
    assert_eq!(fake.dword(at::VENDOR + 4), 0);
    assert_eq!(fake.dword(at::VENDOR + 8), 0xbbbb);
}

#[test]
fn a_conventional_function_ends_at_256_bytes() {
    let (fake, mut function) = rich();
    function.express = None;
    let mut space = space(&fake, &function, BarPolicy::Fixed);
    assert_eq!(space.size(), 0x100);
    assert!(
        !space.walk(&fake).contains(&0x10),
        "without a decoded capability there is none"
    );
    let outside = ConfigError::Outside {
        offset: 0x100,
        size: 0x100,
    };
    assert_eq!(space.read(&fake, 0x100, Width::Dword), Err(outside));
    assert_eq!(space.write(&fake, 0x100, Width::Byte, 0), Err(outside));
    assert!(matches!(
        space.read(&fake, 0x41, Width::Word),
        Err(ConfigError::Unaligned {
            offset: 0x41,
            width: 2
        })
    ));
    assert_eq!(
        space.read_bytes(&fake, 0xfe, &mut [0; 3]),
        Err(ConfigError::Outside {
            offset: 0xfe,
            size: 0x100
        })
    );
    assert!(space.read_bytes(&fake, u64::MAX, &mut [0; 3]).is_err());
    assert!(space.write_bytes(&fake, 1 << 32, &[0; 3], &mut |_| ()).is_err());
    assert_eq!(space.read_bytes(&fake, 0x100, &mut []), Ok(()));
}

#[test]
fn accesses_of_any_shape_are_cut() {
    let (fake, mut space) = everything();
    let mut bytes = [0; 7];
    space.read_bytes(&fake, 1, &mut bytes).unwrap();
    assert_eq!(bytes, [0x1b, 0x10, 0, 2, 0, 0x18, 0xa0]);
    let mut effects = Vec::new();
    // The byte before command, command, and the byte after.
    space
        .write_bytes(&fake, 3, &[0xff, 6, 0, 0xff], &mut |effect| effects.push(effect))
        .unwrap();
    assert_eq!(effects, [Effect::BusMaster(true)]);
    assert_eq!(fake.dword(header::COMMAND) as u16, 0x0406);
}

#[test]
fn a_virtual_function_has_a_memory_bit_of_its_own() {
    let (fake, mut function) = rich();
    (0..0x40).step_by(4).for_each(|at| fake.put(at, 0));
    fake.put(0, u32::MAX);
    fake.put(0x3c, 0x0100);
    (function.vendor, function.device) = (0x8086, 0x10ed);
    let bars = placed(&function);
    let options = Options {
        offer: Offer::LINE,
        virtual_function: true,
        bars: &bars[..1],
        ..Options::default()
    };
    let mut space = VirtualConfig::new(&fake, &function, &options);
    assert_eq!(space.get(&fake, 0), 0x10ed_8086);
    assert_eq!(
        space.get(&fake, header::COMMAND),
        0x0010_0002,
        "memory is on at first"
    );
    assert_eq!(space.get(&fake, header::INTERRUPT_LINE), 0, "and there is no pin");
    assert_eq!(space.get(&fake, header::BAR0), 0xc000_0004);
    let off = space.set16(&fake, header::COMMAND, 4);
    assert_eq!(
        off,
        [
            Effect::BusMaster(true),
            Effect::Decode {
                memory: false,
                io: false
            }
        ]
    );
    let hardware = Command::from_bits_retain(fake.dword(header::COMMAND) as u16);
    assert!(!hardware.contains(Command::MEMORY) && hardware.contains(Command::BUS_MASTER));
    space.set16(&fake, header::COMMAND, 6);
    assert!(
        fake.dword(header::COMMAND) & 2 == 0,
        "the physical function decodes for it"
    );
    assert_eq!(space.check_reset(&fake), None);
}

#[test]
fn broken_intx_is_no_intx() {
    let (fake, mut function) = rich();
    (function.vendor, function.device) = (0x8086, 0x1572);
    let space = space(&fake, &function, BarPolicy::Fixed);
    assert_eq!(space.get(&fake, header::INTERRUPT_LINE), 0);
    assert_eq!(space.get(&fake, header::COMMAND) >> 16 & 8, 0);
}

#[test]
fn a_reset_leaves_the_guest_what_it_had_at_first_but_for_where_bars_are() {
    let (fake, mut space) = everything();
    let all = |space: &VirtualConfig| -> Vec<u32> { (0..0x400).map(|at| space.get(&fake, at * 4)).collect() };
    let mut before = all(&space);
    space.set16(&fake, at::MSIX + 2, 0x8000);
    space.set32(&fake, at::MSI + 4, 0xfee0_0000);
    space.set32(&fake, header::BAR0, u32::MAX);
    space.set32(&fake, header::ROM_ENDPOINT, 0xc011_0001);
    space.set_power_state(PowerState::D3hot);
    let sized = space.get(&fake, header::BAR0);
    assert_ne!(before[4], sized);
    space.reset();
    before[4] = sized;
    assert_eq!(space.get(&fake, header::ROM_ENDPOINT) & 1, 0, "the ROM is off");
    before[12] = space.get(&fake, header::ROM_ENDPOINT);
    assert_eq!(before, all(&space));
}
