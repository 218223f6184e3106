//! MSI-X, MSI and INTx as a guest programs them.

use super::*;

#[test]
fn msix_is_routed_when_the_guest_programs_it_and_taken_back_at_the_end() {
    let mut rig = Rig::new();
    for (offset, value) in [(0, 0xfee0_0000), (8, 0x51), (12, 0)] {
        assert!(rig.write(TABLE + 16 + offset, 4, value));
    }
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    assert_eq!(
        rig.machine.asked,
        [Asked::Enable(IrqKind::MsiX, true), Asked::Route(ENTRY, ROUTE)]
    );
    assert_eq!(rig.read(TABLE + 24, 8), Some(0x51));
    rig.machine.asked.clear();
    assert!(rig.write(TABLE + 28, 4, 1));
    assert!(rig.write(TABLE + 28, 4, 0));
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(ENTRY), Asked::Route(ENTRY, ROUTE)]
    );
    rig.machine.asked.clear();
    rig.functions.release(&mut rig.machine);
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(ENTRY), Asked::Enable(IrqKind::MsiX, false)]
    );
    assert_eq!(rig.read(TABLE + 28, 4), Some(1), "masked as after reset");
}

#[test]
fn an_interrupt_without_a_way_does_not_come_and_narrow_accesses_to_the_table_are_refused() {
    let mut rig = Rig::new();
    rig.machine.no_route = true;
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    assert!(rig.write(TABLE, 8, 0xfee0_0000));
    // The guest waits for it in vain, and for nothing else.
    assert!(rig.write(TABLE + 8, 8, 0x51));
    assert_eq!(rig.machine.asked, [Asked::Enable(IrqKind::MsiX, true)]);
    for (gpa, bytes) in [(TABLE, 1), (TABLE, 2), (TABLE + 4, 8)] {
        assert_eq!(rig.read(gpa, bytes), None);
        assert!(!rig.write(gpa, bytes, 0));
    }
}

#[test]
fn what_shares_a_page_is_passed_on_and_pending_bits_are_read_only() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(TABLE + 0x800, 4), Some(0x5a));
    assert!(rig.write(TABLE + 0x800, 4, 1));
    assert!(rig.write(TABLE + 0x900, 2, 2));
    assert_eq!(rig.read(0xc000_4010, 1), Some(0x5a));
    let expected = [
        Asked::Read(0xfe00_2800, 4),
        Asked::Write(0xfe00_2900, 2, 2),
        Asked::Read(0xfeb0_0110, 1),
    ];
    assert_eq!(rig.machine.asked, expected);
}

#[test]
fn msi_is_routed_masked_and_turned_off() {
    let mut rig = Rig::new();
    rig.machine.of = Bdf::new(0, 1, 0, 1);
    let small = SLOT + (1 << 12) + 0x40;
    let source = Source {
        kind: Messages::Msi,
        vector: 0,
    };
    assert_eq!(rig.read(small + 2, 2), Some(0x0100), "one vector, with a mask");
    for (offset, bytes, value) in [(4, 4, 0xfee0_0000), (8, 2, 0x51), (2, 2, 0x0071)] {
        assert!(rig.write(small + offset, bytes, value));
    }
    assert_eq!(rig.read(small + 2, 2), Some(0x0101));
    assert_eq!(rig.machine.asked.last(), Some(&Asked::Route(source, ROUTE)));
    rig.machine.asked.clear();
    assert!(rig.write(small + 12, 4, 1));
    assert!(rig.write(small + 12, 4, 0));
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(source), Asked::Route(source, ROUTE)]
    );
    rig.machine.asked.clear();
    // A message that is no interrupt is not sent.
    assert!(rig.write(small + 4, 4, 0x1000));
    assert!(rig.write(small + 2, 2, 0));
    let off = Asked::Enable(IrqKind::Msi, false);
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(source), Asked::Unroute(source), off]
    );
    assert!(
        rig.machine.config.writes.borrow().is_empty(),
        "the hardware's MSI is not the guest's"
    );
    rig.machine.no_route = true;
    assert!(rig.write(small + 4, 4, 0xfee0_0000));
    assert!(rig.write(small + 2, 2, 1));
    assert_eq!(
        rig.read(small + 2, 2),
        Some(0x0100),
        "no way left: the guest finds it off"
    );
}

/// Which lines came.
fn poll(rig: &mut Rig) -> Vec<Line> {
    let mut came = Vec::new();
    rig.functions
        .poll_lines(&mut rig.machine, &mut |line| came.push(line));
    came
}

fn acknowledge(rig: &mut Rig, line: Line) -> Vec<Line> {
    let mut again = Vec::new();
    let concerned = |other: Line| other == line;
    rig.functions
        .end_of_interrupt(&mut rig.machine, &concerned, &mut |line| again.push(line));
    again
}

#[test]
fn a_line_comes_once_until_its_interrupt_is_over() {
    let mut rig = Rig::wired(true);
    assert_eq!(rig.read(SLOT + 0x3d, 1), Some(1), "the pin");
    // The other function of the slot sends nothing here.
    rig.machine.of = NVME;
    rig.machine.lenient = true;
    assert_eq!(poll(&mut rig), [], "nobody listens yet");
    rig.functions.listen(&mut rig.machine);
    let nvme = Line {
        devfn: 1 << 3,
        pin: 1,
    };
    let status = |rig: &Rig, raised: u8| rig.machine.config.put(NVME, 6, &[raised << 3]);
    assert_eq!(poll(&mut rig), []);
    status(&rig, 1);
    assert_eq!(poll(&mut rig), [nvme]);
    assert_eq!(poll(&mut rig), [], "held back until it was seen to");
    assert_eq!(acknowledge(&mut rig, nvme), [nvme], "it is still raised");
    status(&rig, 0);
    assert_eq!(acknowledge(&mut rig, nvme), []);
    assert_eq!(poll(&mut rig), []);
    // The guest's own mask.
    status(&rig, 1);
    assert!(rig.write(SLOT + 4, 2, 0x402));
    assert_eq!(poll(&mut rig), []);
    assert!(rig.write(SLOT + 4, 2, 2));
    assert_eq!(poll(&mut rig), [nvme]);
    status(&rig, 0);
    assert_eq!(acknowledge(&mut rig, nvme), []);
    // It makes way for MSI-X, comes back after it, and goes on after a reset.
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    status(&rig, 1);
    assert_eq!(poll(&mut rig), []);
    assert!(rig.write(SLOT + 0x42, 2, 0));
    assert_eq!(poll(&mut rig), [nvme]);
    rig.machine.asked.clear();
    assert!(rig.write(SLOT + 0x68, 2, 0x8000));
    assert_eq!(
        rig.machine.asked.last(),
        Some(&Asked::Enable(IrqKind::Intx, true))
    );
    assert_eq!(acknowledge(&mut rig, nvme), [nvme]);
    // A function that is gone raises nothing.
    rig.machine.config.put(NVME, 6, &[0xff, 0xff]);
    assert_eq!(acknowledge(&mut rig, nvme), []);
    rig.functions.release(&mut rig.machine);
    status(&rig, 1);
    assert_eq!(poll(&mut rig), [], "the guest has ended");
}

#[test]
fn without_an_io_apic_there_is_no_pin() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(SLOT + 0x3d, 1), Some(0));
    rig.functions.listen(&mut rig.machine);
    rig.machine.config.put(NVME, 6, &[8]);
    assert_eq!(poll(&mut rig), []);
    assert_eq!(rig.machine.asked, []);
}
