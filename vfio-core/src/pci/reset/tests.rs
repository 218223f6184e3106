//! Resets: what they leave, and that each ends when the function does not play along.

use super::*;
use crate::pci::config::{ConfigAccess, Function, MmioAccess, Registers, Width};
use crate::pci::spec::express::DEVICE_CAPABILITIES_FLR;
use crate::pci::{Bdf, ResetMethods};
use crate::testing::pci::{Machine, Model, Vice, bdf, found};
use crate::testing::{Waits, scaled};
use std::cell::Cell;

const HERE: &str = "00:01.0";

fn nvme() -> Model {
    Model::endpoint()
        .bar(0, 4, 0x4000, 0xfe60_0000)
        .express(0, DEVICE_CAPABILITIES_FLR)
}

fn first(machine: &Machine) -> Function {
    found(machine).functions[0].clone()
}

fn reset(machine: &Machine, function: &Function) -> Result<ResetMethod, ResetError> {
    let saved = SavedConfig::read(machine, &first(machine))?;
    reset_function(machine, function, None, &saved)
}

fn alone(model: Model) -> (Machine, Function) {
    let machine = Machine::new([(bdf(HERE), model)]);
    let function = first(&machine);
    (machine, function)
}

#[test]
fn flr_waits_and_gives_the_configuration_back_with_mastering_off() {
    let mut model = nvme();
    model.reset_takes = 300 * MILLISECOND;
    let (machine, function) = alone(model);
    Registers::new(&machine, bdf(HERE)).set_u16(0x04, 0x0406);
    assert_eq!(reset(&machine, &function), Ok(ResetMethod::Flr));
    assert_eq!(machine.resets(bdf(HERE)), 1);
    assert!((300..scaled(320, 320 + Waits::COARSE)).contains(&(machine.now() / MILLISECOND)));
    let registers = Registers::new(&machine, bdf(HERE));
    assert_eq!(registers.u32(0x10), 0xfe60_0004);
    assert_eq!(registers.u16(0x04), 0x0402);
}

#[test]
fn a_function_that_never_comes_back_ends_the_wait() {
    let mut model = nvme();
    model.reset_takes = u64::MAX;
    let (machine, function) = alone(model);
    assert_eq!(reset(&machine, &function), Err(ResetError::NoAnswer(bdf(HERE))));
    assert!(machine.now() < 6_000 * MILLISECOND);
}

#[test]
fn pending_transactions_are_waited_for_and_not_for_ever() {
    for model in [nvme(), Model::endpoint().advanced_features()] {
        let (machine, function) = alone(model);
        machine.change(bdf(HERE), |model| model.vice = Vice::Pending);
        let before = machine.bytes();
        assert_eq!(reset(&machine, &function), Err(ResetError::Pending(bdf(HERE))));
        assert_eq!(machine.resets(bdf(HERE)), 0);
        assert_eq!(machine.bytes(), before);
        assert!(machine.now() < scaled(200, 200 + Waits::COARSE) * MILLISECOND);
    }
}

#[test]
fn another_device_after_the_reset_is_noticed() {
    let mut model = nvme();
    model.vice = Vice::ReturnsAs(0x9999);
    let (machine, function) = alone(model);
    assert!(matches!(
        reset(&machine, &function),
        Err(ResetError::Changed {
            found: 0x9999_1b36,
            expected: 0x0010_1b36,
            ..
        })
    ));
    let saved = SavedConfig::read(&machine, &first(&machine)).unwrap();
    let before = machine.writes.get();
    assert!(reset_function(&machine, &function, None, &saved).is_err());
    assert_eq!(
        machine.writes.get(),
        before,
        "what is another device is left alone"
    );
}

#[test]
fn a_reset_that_the_function_lacks_is_refused() {
    let (machine, function) = alone(Model::endpoint());
    let unsupported = Err(ResetError::Unsupported(bdf(HERE)));
    assert_eq!(reset(&machine, &function), unsupported);
    assert_eq!(
        secondary_bus_reset(&machine, &function, &[]),
        Err(ResetError::Unsupported(bdf(HERE)))
    );
}

#[test]
fn power_management_resets_unless_the_function_keeps_its_state() {
    let model = |keeps| {
        Model::endpoint()
            .bar(0, 0, 0x1000, 0xfe00_0000)
            .power_management(keeps)
    };
    let (machine, function) = alone(model(false));
    assert_eq!(function.resets, ResetMethods::PM);
    assert_eq!(reset(&machine, &function), Ok(ResetMethod::Pm));
    assert_eq!(machine.resets(bdf(HERE)), 1);
    assert_eq!(Registers::new(&machine, bdf(HERE)).u32(0x10), 0xfe00_0000);
    assert_eq!(alone(model(true)).1.resets, ResetMethods::empty());
    for (vice, error) in [
        (Vice::StaysAsleep, ResetError::Asleep(bdf(HERE))),
        (Vice::StaysAwake, ResetError::NotReset(bdf(HERE))),
        (Vice::IgnoresReset, ResetError::NotReset(bdf(HERE))),
    ] {
        let (machine, function) = alone(model(false));
        machine.change(bdf(HERE), |model| model.vice = vice);
        assert_eq!(reset(&machine, &function), Err(error));
    }
}

#[test]
fn a_reset_that_does_nothing_is_noticed_and_the_next_one_tried() {
    struct Odd<'m>(&'m Machine, ResetQuirks);
    impl ResetHooks for Odd<'_> {
        fn quirks(&self, _: &Function) -> ResetQuirks {
            self.1
        }
        fn has_specific_reset(&self, _: &Function) -> bool {
            true
        }
        fn specific_reset(&self, function: &Function) -> Result<(), Fault> {
            assert!(self.0.resets(function.bdf) == 0, "it is the first");
            Ok(())
        }
    }
    let every = || nvme().power_management(false).advanced_features();
    let quirks = [
        (ResetQuirks::empty(), Ok(ResetMethod::Flr)),
        (ResetQuirks::NO_FLR, Ok(ResetMethod::Pm)),
        (
            ResetQuirks::NO_FLR | ResetQuirks::NO_PM,
            Err(ResetError::NotReset(bdf(HERE))),
        ),
    ];
    for (quirks, expected) in quirks {
        let (machine, function) = alone(every());
        let saved = SavedConfig::read(&machine, &function).unwrap();
        let host = HostParts {
            config: &machine,
            clock: &machine,
            hooks: Odd(&machine, quirks),
        };
        assert_eq!(reset_function(&host, &function, None, &saved), expected);
    }
    let (machine, function) = alone(every());
    machine.change(bdf(HERE), |model| model.vice = Vice::IgnoresReset);
    let ignored = Err(ResetError::NotReset(bdf(HERE)));
    assert_eq!(reset(&machine, &function), ignored);
}

#[test]
fn methods_come_in_the_order_of_the_pci_core_less_what_quirks_forbid() {
    struct Hooks(ResetQuirks);
    impl ResetHooks for Hooks {
        fn quirks(&self, _: &Function) -> ResetQuirks {
            self.0
        }
    }
    let device = nvme().power_management(false).advanced_features();
    let machine = Machine::new([
        (bdf("00:05.0"), Model::bridge(Some(4), 1, 1)),
        (bdf("01:00.0"), device),
    ]);
    let scan = found(&machine);
    let (port, function) = (&scan.functions[0], &scan.functions[1]);
    let of = |quirks, port| -> Vec<ResetMethod> {
        let host = HostParts {
            config: &machine,
            clock: &machine,
            hooks: Hooks(quirks),
        };
        methods(&host, function, port).collect()
    };
    use ResetMethod::{AfFlr, Bus, Flr, Pm};
    assert_eq!(of(ResetQuirks::empty(), Some(port)), [Flr, AfFlr, Pm, Bus]);
    assert_eq!(of(ResetQuirks::empty(), None), [Flr, AfFlr, Pm]);
    assert_eq!(of(ResetQuirks::NO_FLR, Some(port)), [Pm, Bus]);
    assert_eq!(of(ResetQuirks::NO_PM, Some(port)), [Flr, AfFlr, Bus]);
    assert_eq!(of(ResetQuirks::NO_BUS, Some(port)), [Flr, AfFlr, Pm]);
    assert_eq!(of(ResetQuirks::all(), Some(port)), []);
    // Pending transactions leave only the reset from above.
    machine.change(bdf("01:00.0"), |model| model.vice = Vice::Pending);
    let saved = SavedConfig::read(&machine, function).unwrap();
    assert_eq!(reset_function(&machine, function, Some(port), &saved), Ok(Bus));
    // One that died comes back, with what it had.
    machine.change(bdf("01:00.0"), |model| model.bytes[..4].fill(0xff));
    assert_eq!(reset_function(&machine, function, Some(port), &saved), Ok(Bus));
    assert_eq!(SavedConfig::read(&machine, function), Ok(saved));
}

#[test]
fn a_controller_that_must_be_disabled_is_and_one_that_needs_time_gets_it() {
    struct Controller<'m> {
        machine: &'m Machine,
        ready: Cell<bool>,
        stops: bool,
    }
    impl MmioAccess for &Controller<'_> {
        fn read32(&mut self, address: u64) -> u32 {
            assert!(
                self.machine.read(bdf(HERE), 4, Width::Word) & 2 != 0,
                "it decodes"
            );
            match address - 0xfe60_0000 {
                0 => 2 << 24,
                0x14 => 0x46_4001,
                0x1c => self.ready.get().into(),
                other => panic!("{other:#x}"),
            }
        }
        fn write32(&mut self, address: u64, value: u32) {
            assert_eq!((address, value), (0xfe60_0014, 0x46_0000));
            self.ready.set(!self.stops);
        }
    }
    impl ResetHooks for &Controller<'_> {
        fn quirks(&self, _: &Function) -> ResetQuirks {
            ResetQuirks::DISABLE_BEFORE_FLR
        }
        fn slowness(&self, _: &Function) -> u64 {
            250 * MILLISECOND
        }
        fn disable(&self, function: &Function) -> Result<(), Fault> {
            let done = disable_nvme(&mut &**self, self.machine, function);
            assert_eq!(done.is_ok(), self.stops);
            done
        }
    }
    for stops in [true, false] {
        let (machine, function) = alone(nvme());
        let controller = Controller {
            machine: &machine,
            ready: Cell::new(true),
            stops,
        };
        let host = HostParts {
            config: &machine,
            clock: &machine,
            hooks: &controller,
        };
        let saved = SavedConfig::read(&machine, &function).unwrap();
        assert_eq!(
            reset_function(&host, &function, None, &saved),
            Ok(ResetMethod::Flr)
        );
        let took = machine.now() / MILLISECOND;
        let disabling = if stops { 0 } else { 1_000 };
        let most = disabling + 360 + scaled(0, Waits::COARSE);
        assert!((disabling + 350..most).contains(&took), "{took}");
    }
    let (machine, mut function) = alone(nvme());
    function.class = 0x02_0000;
    assert_eq!(
        disable_nvme(&mut &machine, &machine, &function),
        Err(Fault::Unknown)
    );
}

#[test]
fn what_a_reset_wipes_beyond_the_header_comes_back() {
    let mut model = nvme()
        .extended(0x15, &[0x10, 0x20 | 1 << 8])
        .extended(0x18, &[0x1003_1003])
        .extended(1, &[0; 8]);
    model = model
        .writable(0x108, 0x1f00)
        .writable(0x144, 0x1fff_1fff)
        .writable(0x188, u32::MAX);
    let (machine, function) = alone(model);
    let registers = Registers::new(&machine, bdf(HERE));
    registers.set_u32(0x188, 0x1234_5678);
    registers.set_u16(0x48, 0x5936);
    let before = machine.bytes();
    assert_eq!(reset(&machine, &function), Ok(ResetMethod::Flr));
    assert_eq!(machine.bytes(), before);
    assert_eq!(registers.u32(0x144), 0x1003_1003, "LTR");
    assert_eq!(registers.u16(0x48), 0x5936, "MPS and MRRS");
}

#[test]
fn an_address_that_does_not_go_back_is_told_and_nothing_decodes() {
    let (machine, function) = alone(nvme());
    Registers::new(&machine, bdf(HERE)).set_u16(4, 2);
    let saved = SavedConfig::read(&machine, &function).unwrap();
    machine.change(bdf(HERE), |model| model.vice = Vice::LosesBar);
    assert_eq!(
        reset_function(&machine, &function, None, &saved),
        Err(ResetError::NotRestored {
            function: bdf(HERE),
            offset: 0x10
        })
    );
    assert_eq!(Registers::new(&machine, bdf(HERE)).u16(4), 0x400);
}

fn behind(port: Model, slot: &[Model]) -> (Machine, Vec<Function>) {
    let functions = (0..)
        .map(|number| Bdf::new(0, 1, 0, number))
        .zip(slot.iter().cloned());
    let machine = Machine::new(core::iter::once((bdf("00:05.0"), port)).chain(functions));
    let scan = found(&machine);
    (machine, scan.functions)
}

fn bus_reset(machine: &Machine, functions: &[Function]) -> Result<(), ResetError> {
    let mut saved = Vec::new();
    for function in &functions[1..] {
        saved.push((function, SavedConfig::read(machine, function)?));
    }
    let below: Vec<_> = saved.iter().map(|(function, saved)| (*function, saved)).collect();
    secondary_bus_reset(machine, &functions[0], &below)
}

#[test]
fn a_bus_reset_takes_all_behind_the_port_and_gives_them_back() {
    let (machine, functions) = behind(
        Model::bridge(Some(4), 1, 1),
        &[nvme().multi_function(), nvme().multi_function()],
    );
    let before = machine.bytes();
    bus_reset(&machine, &functions).unwrap();
    assert_eq!(machine.bytes(), before);
    assert!(
        functions[1..]
            .iter()
            .all(|function| machine.resets(function.bdf) == 1)
    );
    assert!(machine.now() >= 102 * MILLISECOND);
}

#[test]
fn a_slot_full_of_dead_functions_is_waited_for_once_and_the_living_come_back() {
    let slot: Vec<Model> = (0..8).map(|_| nvme().multi_function()).collect();
    let (machine, functions) = behind(Model::bridge(Some(4), 1, 1), &slot);
    let before = machine.bytes();
    for function in &functions[1..8] {
        machine.change(function.bdf, |model| model.reset_takes = u64::MAX);
    }
    assert_eq!(
        bus_reset(&machine, &functions),
        Err(ResetError::NoAnswer(bdf("01:00.0")))
    );
    assert!(machine.now() < 6_000 * MILLISECOND);
    assert_eq!(machine.bytes()[&bdf("01:00.7")], before[&bdf("01:00.7")]);
    let (machine, functions) = behind(Model::bridge(Some(4), 1, 1), &[nvme()]);
    machine.change(bdf("01:00.0"), |model| model.vice = Vice::IgnoresReset);
    assert_eq!(
        bus_reset(&machine, &functions),
        Err(ResetError::NotReset(bdf("01:00.0")))
    );
}

#[test]
fn a_link_that_stays_down_and_a_bit_that_does_not_stick_end_the_reset() {
    let port = |status: u32| {
        let mut port = Model::bridge(Some(4), 1, 1);
        port.put32(0x4c, 1 << 20);
        port.put32(0x50, status);
        port
    };
    let (machine, functions) = behind(port(1 << 29), &[nvme()]);
    machine.link_drops.set(true);
    assert_eq!(
        bus_reset(&machine, &functions),
        Err(ResetError::LinkDown(bdf("00:05.0")))
    );
    assert!(machine.now() < 2_000 * MILLISECOND);
    let (never_reported, functions) = behind(port(0), &[nvme()]);
    assert_eq!(bus_reset(&never_reported, &functions), Ok(()));
    let (machine, functions) = behind(Model::bridge(Some(4), 1, 1).writable(0x3c, 0), &[nvme()]);
    assert_eq!(
        bus_reset(&machine, &functions),
        Err(ResetError::Stuck(bdf("00:05.0")))
    );
}
