//! Opening, closing, resetting and putting to sleep one function.

use super::*;
use crate::pci::reset::{HostParts, ResetError, ResetHooks, ResetMethod, ResetQuirks};
use crate::testing::pci::Vice;

fn alone(vice: Vice) -> (Machine, Function) {
    let machine = machine();
    let function = found(&machine).functions[0].clone();
    machine.change(bdf(ALONE), |model| model.vice = vice);
    (machine, function)
}

#[test]
fn an_opening_resets_once_copies_and_leaves_the_function_quiet() {
    let (machine, function) = alone(Vice::None);
    use_it(&machine, bdf(ALONE));
    let mut assigned = AssignedFunction::new(&function);
    assert!(assigned.needs_reset(), "nobody knows what firmware did");
    assigned.enable(&machine, None).unwrap();
    assert!(assigned.is_enabled() && !assigned.needs_reset());
    assert_eq!(machine.resets(bdf(ALONE)), 1);
    assert_eq!(
        command(&machine, bdf(ALONE)),
        Command::MEMORY | Command::INTX_DISABLE
    );
    assert_eq!(assigned.intx(), Intx::Maskable);
    assert_eq!(
        assigned.enable(&machine, None),
        Err(FunctionError::Enabled(bdf(ALONE)))
    );
    assert!(assigned.mask_intx(&machine, false));
    assert!(!command(&machine, bdf(ALONE)).contains(Command::INTX_DISABLE));
}

#[test]
fn a_close_leaves_nothing_of_the_owner_and_the_configuration_of_the_opening() {
    for when in [LastReset::Now, LastReset::Later] {
        let (machine, function) = alone(Vice::None);
        let mut assigned = AssignedFunction::new(&function);
        assigned.enable(&machine, None).unwrap();
        let before = machine.bytes();
        use_it(&machine, bdf(ALONE));
        Registers::new(&machine, bdf(ALONE)).set_u16(PM + 4, 3);
        let disabled = assigned.disable(&machine, None, when).unwrap();
        let resets = machine.resets(bdf(ALONE));
        let now = when == LastReset::Now;
        assert_eq!(disabled.reset, now.then_some(Ok(ResetMethod::Flr)));
        // One at the open, one by D3hot.
        assert_eq!(resets, if now { 3 } else { 2 });
        assert_eq!(assigned.needs_reset(), !now);
        assert_quiet(&machine, bdf(ALONE));
        let mut after = machine.bytes();
        let here = after.get_mut(&bdf(ALONE)).unwrap();
        let was = &before[&bdf(ALONE)];
        here[4..6].copy_from_slice(&was[4..6]);
        here[usize::from(MSIX) + 3] = was[usize::from(MSIX) + 3];
        assert_eq!(after, before);
        assert_eq!(
            assigned.disable(&machine, None, when),
            Err(FunctionError::NotEnabled(bdf(ALONE)))
        );
    }
}

#[test]
fn a_reset_that_does_not_work_is_remembered_and_does_not_keep_a_function_from_opening() {
    let (machine, function) = alone(Vice::IgnoresReset);
    let mut assigned = AssignedFunction::new(&function);
    assigned.enable(&machine, None).unwrap();
    assert!(assigned.needs_reset() && !assigned.can_reset(&machine, None));
    assert_eq!(
        assigned.reset(&machine, None),
        Err(FunctionError::NoReset(bdf(ALONE)))
    );
    let disabled = assigned.disable(&machine, None, LastReset::Now).unwrap();
    assert_eq!(disabled.reset, None);
    assert!(assigned.needs_reset(), "P20");
    // Between owners it is tried again.
    machine.change(bdf(ALONE), |model| model.vice = Vice::None);
    assert_eq!(assigned.reset(&machine, None), Ok(ResetMethod::Flr));
    assert!(!assigned.needs_reset());
}

#[test]
fn a_function_that_goes_on_mastering_is_not_opened_and_not_called_closed() {
    let (machine, function) = alone(Vice::KeepsMastering);
    let mut assigned = AssignedFunction::new(&function);
    let keeps = Err(FunctionError::KeepsMastering(bdf(ALONE)));
    assert_eq!(assigned.enable(&machine, None), keeps);
    assert!(!assigned.is_enabled());
    machine.change(bdf(ALONE), |model| model.vice = Vice::None);
    assigned.enable(&machine, None).unwrap();
    machine.change(bdf(ALONE), |model| model.vice = Vice::KeepsMastering);
    assert_eq!(
        assigned.disable(&machine, None, LastReset::Now).map(|_| ()),
        keeps
    );
    assert!(!assigned.is_enabled());
}

#[test]
fn a_function_that_is_gone_or_another_or_moved_its_table_is_named_as_that() {
    let (machine, function) = alone(Vice::ReturnsAs(0xbeef));
    let mut assigned = AssignedFunction::new(&function);
    let error = assigned.enable(&machine, None).unwrap_err();
    assert!(matches!(
        error,
        FunctionError::Reset(ResetError::Changed {
            found: 0xbeef_1b36,
            ..
        })
    ));
    let (machine, function) = alone(Vice::IgnoresReset);
    machine.change(bdf(ALONE), |model| model.put32(MSIX + 4, 0x1000));
    let mut assigned = AssignedFunction::new(&function);
    assert_eq!(
        assigned.enable(&machine, None),
        Err(FunctionError::MsixMoved(bdf(ALONE)))
    );
    machine.change(bdf(ALONE), |model| model.absent_until = u64::MAX);
    let gone = ResetError::Gone(bdf(ALONE)).into();
    assert_eq!(assigned.enable(&machine, None), Err(gone));
    assert_eq!(assigned.quiesce(&machine), Err(gone));
    assert_eq!(assigned.reset(&machine, None), Err(gone));
    assert_eq!(Fault::from(gone), Fault::Gone);
}

#[test]
fn intx_is_what_toggling_its_mask_shows() {
    struct Broken;
    impl ResetHooks for Broken {
        fn intx_is_broken(&self, _: &Function) -> bool {
            true
        }
    }
    let (machine, function) = alone(Vice::None);
    let host = HostParts {
        config: &machine,
        clock: &machine,
        hooks: Broken,
    };
    let mut assigned = AssignedFunction::new(&function);
    assigned.enable(&host, None).unwrap();
    assert_eq!(assigned.intx(), Intx::None, "it is known to be broken");
    let mut silent = function.clone();
    silent.interrupt_pin = 0;
    let mut assigned = AssignedFunction::new(&silent);
    assigned.enable(&machine, None).unwrap();
    assert_eq!(assigned.intx(), Intx::None);
    machine.change(bdf(ALONE), |model| {
        *model = model.clone().writable(header::COMMAND, 7);
    });
    let mut assigned = AssignedFunction::new(&function);
    assigned.enable(&machine, None).unwrap();
    assert_eq!(assigned.intx(), Intx::Exclusive);
    assert!(!assigned.mask_intx(&machine, true));
}

#[test]
fn a_function_that_loses_its_state_in_d3hot_gets_it_back() {
    let (machine, function) = alone(Vice::None);
    let mut assigned = AssignedFunction::new(&function);
    assigned.enable(&machine, None).unwrap();
    assert!(assigned.needs_pm_restore());
    let registers = Registers::new(&machine, bdf(ALONE));
    use_it(&machine, bdf(ALONE));
    for state in [PowerState::D1, PowerState::D2, PowerState::D3hot] {
        let change = assigned.set_power_state(&machine, state).unwrap();
        assert!(!change.lost_state);
        assert_eq!(assigned.power_state(&machine), Ok(state));
    }
    assert!(matches!(
        assigned.set_power_state(&machine, PowerState::D1),
        Err(PowerError::NotFrom { .. })
    ));
    // Written in D3hot, and not what comes back.
    registers.set_u32(header::BAR0, 0x1000_0000);
    let started = machine.time.get();
    let change = assigned.set_power_state(&machine, PowerState::D0).unwrap();
    assert_eq!(
        change,
        PowerChange {
            from: PowerState::D3hot,
            lost_state: true
        }
    );
    assert!(machine.time.get() - started >= 10_000_000);
    assert_eq!(registers.u32(header::BAR0), 0xfe60_0004);
    assert_eq!(registers.u16(0x48), 0x0810);
    assert_eq!(
        registers.command(),
        Command::MEMORY,
        "bus mastering does not come back"
    );
}

#[test]
fn a_function_that_firmware_left_asleep_keeps_its_addresses() {
    let (machine, function) = alone(Vice::None);
    Registers::new(&machine, bdf(ALONE)).set_u16(PM + 4, 3);
    let mut assigned = AssignedFunction::new(&function);
    assigned.enable(&machine, None).unwrap();
    assert_eq!(assigned.power_state(&machine), Ok(PowerState::D0));
    assert_eq!(
        Registers::new(&machine, bdf(ALONE)).u32(header::BAR0),
        0xfe60_0004
    );
}

#[test]
fn power_states_that_a_function_does_not_have_or_not_take_are_told() {
    let (machine, function) = alone(Vice::StaysAsleep);
    let mut assigned = AssignedFunction::new(&function);
    assigned.set_power_state(&machine, PowerState::D3hot).unwrap();
    let stays = PowerError::Stays {
        function: bdf(ALONE),
        from: PowerState::D3hot,
        state: PowerState::D0,
    };
    assert_eq!(assigned.set_power_state(&machine, PowerState::D0), Err(stays));
    assert_eq!(assigned.enable(&machine, None), Err(stays.into()));
    let mut without = function.clone();
    without.pm = None;
    let mut assigned = AssignedFunction::new(&without);
    assert!(assigned.set_power_state(&machine, PowerState::D0).is_ok());
    assert!(matches!(
        assigned.set_power_state(&machine, PowerState::D3hot),
        Err(PowerError::Unsupported { .. })
    ));
    machine.change(bdf(ALONE), |model| model.put16(PM + 2, 3));
    let mut assigned = AssignedFunction::new(&function);
    machine.change(bdf(ALONE), |model| model.put16(PM + 4, 0));
    assert!(matches!(
        assigned.set_power_state(&machine, PowerState::D2),
        Err(PowerError::Unsupported { .. })
    ));
}

#[test]
fn a_function_alone_on_its_bus_is_reset_by_it_unless_a_quirk_forbids_that() {
    struct Frail(Bdf);
    impl ResetHooks for Frail {
        fn quirks(&self, function: &Function) -> ResetQuirks {
            if function.bdf == self.0 {
                ResetQuirks::NO_BUS
            } else {
                ResetQuirks::empty()
            }
        }
    }
    let machine = Machine::new([
        (bdf(PORT), Model::bridge(Some(4), 1, 1)),
        (bdf(SLOT[0]), device(0, true)),
    ]);
    let table = table(&machine);
    assert_eq!(
        table.reset(&machine, bdf(SLOT[0]), &NotExposed),
        Ok(ResetMethod::Bus)
    );
    for frail in [PORT, SLOT[0]] {
        let host = HostParts {
            config: &machine,
            clock: &machine,
            hooks: Frail(bdf(frail)),
        };
        assert_eq!(table.can_reset(&host, bdf(SLOT[0])), Ok(false));
        assert_eq!(
            table.reset(&host, bdf(SLOT[0]), &NotExposed),
            Err(FunctionError::NoReset(bdf(SLOT[0])))
        );
        assert_eq!(
            table.reset_set(&host, &[bdf(SLOT[0])]),
            Err(NoScope::Quirk { function: bdf(frail) }.into())
        );
    }
}
