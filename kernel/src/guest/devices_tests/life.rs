//! Decoding, resets and power states: what a function shows meanwhile, and afterwards.

use super::*;

/// Has MSI-X entry 1 routed, and forgets how.
fn route_entry(rig: &mut Rig) {
    for (offset, value) in [(0, 0xfee0_0000), (8, 0x51), (12, 0)] {
        assert!(rig.write(TABLE + 16 + offset, 4, value));
    }
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    assert_eq!(rig.machine.asked.last(), Some(&Asked::Route(ENTRY, ROUTE)));
    rig.machine.asked.clear();
}

const UNMAPPED: [Asked; 2] = [Asked::Unmap(0xc000_0000), Asked::Unmap(0xc000_3000)];
const MAPPED: [Asked; 2] = [Asked::Map(0xc000_0000), Asked::Map(0xc000_3000)];

fn all_read_as_ones(rig: &mut Rig) {
    for (gpa, bytes) in [
        (0xc000_0000, 4),
        (0xc000_3ff8, 8),
        (TABLE + 24, 4),
        (TABLE + 0x900, 1),
    ] {
        assert_eq!(
            rig.read(gpa, bytes),
            Some(u64::MAX >> (64 - 8 * u32::from(bytes))),
            "{gpa:#x}"
        );
        assert!(rig.write(gpa, bytes, 0));
    }
    assert_eq!(rig.machine.asked, [], "and reach nothing");
}

#[test]
fn registers_are_there_as_long_as_memory_is_decoded() {
    let mut rig = Rig::new();
    assert!(rig.write(SLOT + 4, 2, 0));
    assert_eq!(rig.machine.asked, UNMAPPED);
    rig.machine.asked.clear();
    all_read_as_ones(&mut rig);
    assert!(rig.write(SLOT + 4, 2, 0));
    assert!(rig.write(SLOT + 4, 2, 4));
    assert_eq!(rig.machine.asked, [], "no change");
    assert!(rig.write(SLOT + 4, 2, 2));
    assert_eq!(rig.machine.asked, MAPPED);
    assert_eq!(rig.read(TABLE + 28, 4), Some(1), "nothing was written meanwhile");
}

#[test]
fn pages_that_could_not_be_mapped_are_passed_on() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(0xc000_0008, 4), Some(0x5a));
    assert!(rig.write(0xc000_3ff8, 8, 7));
    let expected = [Asked::Read(0xfe00_0008, 4), Asked::Write(0xfe00_3ff8, 8, 7)];
    assert_eq!(rig.machine.asked, expected);
    assert_eq!(rig.read(0xc000_1ffc, 8), None, "not aligned");
}

#[test]
fn a_reset_takes_registers_and_interrupts_away_and_the_guest_starts_anew() {
    for fault in [None, Some(Fault::Gone)] {
        let mut rig = Rig::new();
        assert_eq!(rig.read(SLOT + 0x64, 4), Some(0x1000_0000), "it is offered");
        assert!(rig.write(SLOT + 4, 2, 6));
        rig.machine.asked.clear();
        route_entry(&mut rig);
        rig.machine.fault = fault;
        assert!(rig.write(SLOT + 0x68, 2, 0x8000));
        let mut expected = Vec::from(UNMAPPED);
        expected.extend([
            Asked::Unroute(ENTRY),
            Asked::Enable(IrqKind::MsiX, false),
            Asked::Reset,
        ]);
        assert_eq!(rig.machine.asked, expected);
        rig.machine.asked.clear();
        assert_eq!(rig.read(SLOT + 4, 2), Some(0), "nothing decodes");
        assert_eq!(
            rig.machine.config.read(NVME, 4, Width::Word),
            0x400,
            "in the hardware too"
        );
        assert_eq!(rig.read(SLOT + 0x42, 2), Some(3), "MSI-X is off");
        assert_eq!(
            rig.read(SLOT + 0x10, 4),
            Some(0xc000_0004),
            "the BAR is where it was"
        );
        all_read_as_ones(&mut rig);
        assert!(rig.write(SLOT + 4, 2, 2));
        assert_eq!(rig.machine.asked, MAPPED);
        assert_eq!(rig.read(TABLE + 28, 4), Some(1), "masked as after reset");
        route_entry(&mut rig);
    }
}

#[test]
fn a_reset_that_does_not_work_is_not_offered() {
    let stuck = function(|f| {
        f.capabilities = vec![capability(0x10, 0x60)];
        f.express = Some(EXPRESS);
    });
    let config = Bytes::default();
    config.put(NVME, 0x60, &[0x10, 0, 2, 0, 0, 0, 0, 0x10]);
    let functions = AssignedFunctions::new(&config, &[&stuck], wiring(false)).unwrap();
    let mut rig = Rig {
        functions,
        ..Rig::new()
    };
    assert_eq!(rig.read(SLOT + 0x64, 4), Some(0));
    assert!(rig.write(SLOT + 0x68, 2, 0x8000));
    assert_eq!(rig.machine.asked, []);
}

#[test]
fn a_sleeping_function_shows_nothing_and_comes_back_as_it_was() {
    let mut rig = Rig::new();
    route_entry(&mut rig);
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    let mut expected = Vec::from(UNMAPPED);
    expected.push(Asked::Power(PowerState::D3hot));
    assert_eq!(rig.machine.asked, expected);
    rig.machine.asked.clear();
    assert_eq!(rig.read(SLOT + 0xa4, 2), Some(3));
    all_read_as_ones(&mut rig);
    // Decoding and MSI-X can be changed in configuration space; it shows on the way back.
    assert!(rig.write(SLOT + 4, 2, 0));
    assert!(rig.write(SLOT + 4, 2, 2));
    assert!(rig.write(SLOT + 0x42, 2, 0));
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    all_read_as_ones(&mut rig);
    assert!(rig.write(SLOT + 0xa4, 2, 0));
    let mut expected = vec![Asked::Power(PowerState::D0)];
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected, "its vector was there all the time");
    assert_eq!(rig.read(SLOT + 0xa4, 2), Some(0));
    // What is different on the way back is made different then.
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    assert!(rig.write(SLOT + 0x42, 2, 0));
    rig.machine.asked.clear();
    assert!(rig.write(SLOT + 0xa4, 2, 0));
    let mut expected = vec![
        Asked::Power(PowerState::D0),
        Asked::Unroute(ENTRY),
        Asked::Enable(IrqKind::MsiX, false),
    ];
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected);
}

#[test]
fn a_function_that_loses_its_state_on_the_way_back_gets_it_again() {
    let mut rig = Rig::new();
    rig.machine.loses = true;
    route_entry(&mut rig);
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    rig.machine.asked.clear();
    assert!(rig.write(SLOT + 0xa4, 2, 0));
    let mut expected = vec![
        Asked::Power(PowerState::D0),
        Asked::Unroute(ENTRY),
        Asked::Enable(IrqKind::MsiX, false),
        Asked::Enable(IrqKind::MsiX, true),
        Asked::Route(ENTRY, ROUTE),
    ];
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected);
    rig.machine.asked.clear();
    assert_eq!(
        (rig.read(SLOT + 0xa4, 2), rig.read(SLOT + 0x42, 2)),
        (Some(0), Some(0x8003))
    );
    assert_eq!(
        rig.machine.config.read(NVME, 4, Width::Word),
        0x402,
        "bus mastering is the guest's to turn on"
    );
}

#[test]
fn a_function_that_does_not_sleep_stays_awake() {
    let mut rig = Rig::new();
    route_entry(&mut rig);
    rig.machine.fault = Some(Fault::Rejected);
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    assert_eq!(rig.read(SLOT + 0xa4, 2), Some(0));
    let mut expected = Vec::from(UNMAPPED);
    expected.push(Asked::Power(PowerState::D3hot));
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected);
    assert_eq!(rig.read(TABLE + 24, 4), Some(0x51));
}

#[test]
fn interrupts_work_again_after_a_reset_that_nobody_announced() {
    let mut rig = Rig::new();
    route_entry(&mut rig);
    rig.machine.config.put(NVME, 4, &[0]);
    assert!(rig.write(SLOT + 4, 2, 2));
    let expected = [
        Asked::Unroute(ENTRY),
        Asked::Enable(IrqKind::MsiX, false),
        Asked::Enable(IrqKind::MsiX, true),
        Asked::Route(ENTRY, ROUTE),
    ];
    assert_eq!(rig.machine.asked, expected);
}
