//! Resets: what they leave, and that each ends when the function does not play along.

use super::*;
use crate::pci::ResetMethods;
use crate::testing::pci::{Machine, Model, bdf, found};

const HERE: &str = "00:01.0";

fn nvme() -> Model {
    Model::endpoint()
        .bar(0, 4, 0x4000, 0xfe60_0000)
        .express(0, 1 << 28)
}

fn first(machine: &Machine) -> Function {
    found(machine).functions[0].clone()
}

#[test]
fn flr_waits_and_gives_the_configuration_back_with_mastering_off() {
    let mut model = nvme();
    model.reset_takes = 300 * MILLISECOND;
    let machine = Machine::new([(bdf(HERE), model)]);
    let function = first(&machine);
    Registers::new(&machine, bdf(HERE)).set_u16(0x04, 0x0406);
    flr(&machine, &machine, &function).unwrap();
    assert_eq!(machine.functions.borrow()[&bdf(HERE)].resets, 1);
    assert!((300..320).contains(&(machine.now() / MILLISECOND)));
    let registers = Registers::new(&machine, bdf(HERE));
    assert_eq!(registers.u32(0x10), 0xfe60_0004);
    assert_eq!(registers.u16(0x04), 0x0402);
}

#[test]
fn a_function_that_never_comes_back_ends_the_wait() {
    let mut model = nvme();
    model.reset_takes = u64::MAX;
    let machine = Machine::new([(bdf(HERE), model)]);
    let function = first(&machine);
    assert_eq!(
        flr(&machine, &machine, &function),
        Err(ResetError::NoAnswer(bdf(HERE)))
    );
    assert!(machine.now() < 6_000 * MILLISECOND);
}

#[test]
fn pending_transactions_are_waited_for_and_not_for_ever() {
    let mut model = nvme();
    model.put16(0x4a, 1 << 5);
    let machine = Machine::new([(bdf(HERE), model)]);
    let function = first(&machine);
    assert_eq!(
        flr(&machine, &machine, &function),
        Err(ResetError::Pending(bdf(HERE)))
    );
    assert_eq!(machine.functions.borrow()[&bdf(HERE)].resets, 0);
}

#[test]
fn another_device_after_the_reset_is_noticed() {
    let machine = Machine::new([(bdf(HERE), nvme())]);
    let mut function = first(&machine);
    function.device = 0x9999;
    assert!(matches!(
        flr(&machine, &machine, &function),
        Err(ResetError::Changed {
            found: 0x0010_1b36,
            ..
        })
    ));
}

#[test]
fn a_reset_that_the_function_lacks_is_refused() {
    let machine = Machine::new([(bdf(HERE), Model::endpoint())]);
    let function = first(&machine);
    let unsupported = Err(ResetError::Unsupported(bdf(HERE)));
    assert_eq!(flr(&machine, &machine, &function), unsupported);
    assert_eq!(pm_reset(&machine, &machine, &function), unsupported);
    assert_eq!(
        secondary_bus_reset(&machine, &machine, &function, &[]),
        unsupported
    );
}

#[test]
fn power_management_resets_unless_the_function_keeps_its_state() {
    let pm = |control: u8| {
        Model::endpoint()
            .bar(0, 0, 0x1000, 0xfe00_0000)
            .capability(9, &[0; 0x3a])
            .capability(1, &[0, 0, control, 0, 0, 0])
            .writable(0x80, 0x3)
    };
    let machine = Machine::new([(bdf(HERE), pm(0))]);
    let function = first(&machine);
    assert_eq!(function.resets, ResetMethods::PM);
    reset_function(&machine, &machine, &function, crate::pci::FunctionReset::Pm).unwrap();
    assert_eq!(machine.functions.borrow()[&bdf(HERE)].resets, 1);
    assert_eq!(Registers::new(&machine, bdf(HERE)).u32(0x10), 0xfe00_0000);
    assert_eq!(
        first(&Machine::new([(bdf(HERE), pm(8))])).resets,
        ResetMethods::empty()
    );
}

#[test]
fn a_bus_reset_takes_all_behind_the_port_and_gives_them_back() {
    let machine = Machine::new([
        (bdf("00:05.0"), Model::bridge(Some(4), 1, 1)),
        (bdf("01:00.0"), nvme().multi_function()),
        (bdf("01:00.1"), nvme().multi_function()),
    ]);
    let scan = found(&machine);
    let (port, below) = (&scan.functions[0], [&scan.functions[1], &scan.functions[2]]);
    let before = machine.bytes();
    secondary_bus_reset(&machine, &machine, port, &below).unwrap();
    assert_eq!(machine.bytes(), before);
    assert!(
        below
            .iter()
            .all(|function| machine.functions.borrow()[&function.bdf].resets == 1)
    );
    assert!(machine.now() >= 102 * MILLISECOND);
}

#[test]
fn a_link_that_stays_down_and_a_bit_that_does_not_stick_end_the_reset() {
    let port = |status: u32| {
        let mut port = Model::bridge(Some(4), 1, 1);
        port.put32(0x4c, 1 << 20);
        port.put32(0x50, status);
        port
    };
    let machine = Machine::new([(bdf("00:05.0"), port(1 << 29)), (bdf("01:00.0"), nvme())]);
    machine.link_drops.set(true);
    let scan = found(&machine);
    let reset =
        |machine: &Machine| secondary_bus_reset(machine, machine, &scan.functions[0], &[&scan.functions[1]]);
    assert_eq!(reset(&machine), Err(ResetError::LinkDown(bdf("00:05.0"))));
    assert!(machine.now() < 2_000 * MILLISECOND);
    let never_reported = Machine::new([(bdf("00:05.0"), port(0)), (bdf("01:00.0"), nvme())]);
    assert_eq!(reset(&never_reported), Ok(()));
    let stuck = Model::bridge(Some(4), 1, 1).writable(0x3c, 0);
    let machine = Machine::new([(bdf("00:05.0"), stuck), (bdf("01:00.0"), nvme())]);
    assert_eq!(reset(&machine), Err(ResetError::Stuck(bdf("00:05.0"))));
}
