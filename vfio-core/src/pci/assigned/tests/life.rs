//! Decoding, resets and power, and what the owner sees meanwhile.

use super::*;
use crate::testing::pci::Vice;

const FLR: [u8; 2] = [0, 0x80];

/// Memory and bus mastering on, vector 1 set up.
fn used<'w>(world: &'w World, behind: &'w Behind<'w>) -> Open<'w> {
    let mut device = world.open(behind);
    command(&mut device, 6).unwrap();
    entry(&mut device, 1, 0x41);
    set(&mut device, MSIX + 2, &[0, 0x80]).unwrap();
    device
}

#[test]
fn bars_are_mapped_while_memory_is_decoded() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    assert!(!device.is_shown() && !world.shown.any());
    command(&mut device, 6).unwrap();
    assert!(device.is_shown() && world.shown.any());
    assert_eq!(
        world.registers().command(),
        Command::MEMORY | Command::BUS_MASTER | Command::INTX_DISABLE
    );
    command(&mut device, 4).unwrap();
    assert!(!device.is_shown() && !world.shown.any());
    command(&mut device, 2).unwrap();
    // What cannot be taken away keeps memory from being turned off.
    world.shown.stubborn.set(true);
    assert_eq!(command(&mut device, 0), Err(AccessError::Fault(Fault::Busy)));
    assert_eq!(get(&mut device, header::COMMAND), 2);
    assert!(world.registers().command().contains(Command::MEMORY));
    world.shown.stubborn.set(false);
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn the_guests_own_reset_resets_all_that_it_has() {
    for by in [true, false] {
        let world = World::new(model(true));
        let behind = world.behind();
        let mut device = used(&world, &behind);
        let before = world.resets();
        if by {
            set(&mut device, EXPRESS + 8, &FLR).unwrap();
        } else {
            Device::reset(&mut device).unwrap();
        }
        assert_eq!(world.resets(), before + 1);
        assert!(!device.is_shown() && device.irqs().active().is_none());
        assert_eq!(get(&mut device, header::COMMAND) & 7, 0);
        assert_eq!(get(&mut device, MSIX + 2) & 0xc000, 0);
        let registers = world.registers();
        assert_eq!(registers.command(), Command::INTX_DISABLE);
        assert_eq!(
            registers.u32(header::BAR0),
            0xfe60_0004,
            "the host's address is the host's"
        );
        assert_eq!(device.message(IrqKind::MsiX, 1), None);
        command(&mut device, 2).unwrap();
        assert!(device.is_shown());
        device.close(LastReset::Now).unwrap();
        assert_closed(&world);
    }
}

#[test]
fn an_intx_goes_on_after_a_reset() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    ask(&mut device, 0, IrqAction::Signal(&[true])).unwrap();
    command(&mut device, 0x402).unwrap();
    Device::reset(&mut device).unwrap();
    assert_eq!(device.irqs().active(), Some(IrqKind::Intx));
    assert!(!world.registers().command().contains(Command::INTX_DISABLE));
    // Also where it had made way.
    set(&mut device, MSIX + 2, &[0, 0x80]).unwrap();
    Device::reset(&mut device).unwrap();
    assert_eq!(device.irqs().active(), Some(IrqKind::Intx));
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn a_function_that_sleeps_shows_nothing_and_wakes_up_as_it_was() {
    for keeps_state in [true, false] {
        let world = World::new(model(keeps_state));
        let behind = world.behind();
        let mut device = used(&world, &behind);
        set(&mut device, PM + 4, &[3, 0]).unwrap();
        assert!(!device.is_shown());
        assert_eq!(get(&mut device, PM + 4) & 3, 3);
        let mut four = [0; 4];
        assert_eq!(Device::read(&mut device, 0, 0, &mut four), Err(AccessError::Off));
        set(&mut device, PM + 4, &[0, 0]).unwrap();
        assert!(device.is_shown());
        Device::read(&mut device, 0, 0, &mut four).unwrap();
        assert_eq!(device.backend().connected, BTreeSet::from([1]), "set up again");
        assert_eq!(world.registers().u16(MSIX + 2) & 0x8000, 0x8000);
        assert_eq!(world.registers().u32(header::BAR0), 0xfe60_0004);
        device.close(LastReset::Now).unwrap();
        assert_closed(&world);
    }
}

#[test]
fn a_function_that_does_not_obey_is_where_it_is() {
    for (vice, asked, stays) in [(Vice::StaysAwake, 3, 0), (Vice::StaysAsleep, 0, 3)] {
        let world = World::new(model(true));
        let behind = world.behind();
        let mut device = used(&world, &behind);
        if vice == Vice::StaysAsleep {
            set(&mut device, PM + 4, &[3, 0]).unwrap();
        }
        world.fake.change(bdf(AT), |model| model.vice = vice);
        let told = set(&mut device, PM + 4, &[asked, 0]);
        assert_eq!(told, Err(AccessError::Fault(Fault::Rejected)));
        assert_eq!(get(&mut device, PM + 4) & 3, stays);
        assert_eq!(device.is_shown(), stays == 0);
        world.fake.change(bdf(AT), |model| model.vice = Vice::None);
        device.close(LastReset::Now).unwrap();
        assert_closed(&world);
    }
}

/// A reset through a register of the device itself, which nobody announced.
#[test]
fn a_reset_by_the_back_door_is_noticed_and_repaired() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = used(&world, &behind);
    assert_eq!(device.check_reset(), Ok(false));
    world.registers().set_u16(EXPRESS + 8, 0x8000);
    assert_eq!(world.registers().u32(header::BAR0) & !0xf, 0);
    assert_eq!(device.check_reset(), Ok(true));
    assert_eq!(world.registers().u32(header::BAR0), 0xfe60_0004);
    assert!(world.registers().command().contains(Command::MEMORY));
    assert_eq!(
        world.registers().u16(MSIX + 2) & 0x8000,
        0x8000,
        "MSI-X is on again"
    );
    assert_eq!(device.backend().connected, BTreeSet::from([1]));
    // The guest's driver turns memory on after such a reset: that looks as well.
    world.registers().set_u16(EXPRESS + 8, 0x8000);
    command(&mut device, 6).unwrap();
    assert_eq!(world.registers().u32(header::BAR0), 0xfe60_0004);
    world.fake.change(bdf(AT), |model| model.absent_until = u64::MAX);
    assert_eq!(device.check_reset(), Err(Fault::Gone));
    assert_eq!(command(&mut device, 2), Err(AccessError::Fault(Fault::Gone)));
    assert!(device.close(LastReset::Now).is_err());
    assert!(!world.shown.any());
}

#[test]
fn a_function_is_open_once_and_can_be_opened_again() {
    let world = World::new(model(true));
    let behind = world.behind();
    let device = used(&world, &behind);
    let twice = world.try_open(&behind).map(|_| ());
    assert_eq!(twice, Err(FunctionError::Enabled(bdf(AT))));
    device.close(LastReset::Later).unwrap();
    assert_closed(&world);
    let mut device = world.open(&behind);
    assert_eq!(
        get(&mut device, MSIX + 2) & 0x8000,
        0,
        "the next owner finds nothing"
    );
    let mut table = [0xff; 8];
    command(&mut device, 2).unwrap();
    Device::read(&mut device, 0, TABLE + 16, &mut table).unwrap();
    assert_eq!(table, [0; 8]);
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn a_function_that_is_dropped_is_closed() {
    let world = World::new(model(true));
    let behind = world.behind();
    drop(used(&world, &behind));
    assert_closed(&world);
    let state = world.table.with(bdf(AT), |function| {
        (function.is_enabled(), function.needs_reset())
    });
    assert_eq!(state, Ok((false, true)), "the reset is left to the next one");
    let before = world.resets();
    world.open(&behind).close(LastReset::Now).unwrap();
    assert!(world.resets() > before);
}

/// What a guest programs while its function sleeps reaches the hardware when it wakes up, and not before.
#[test]
fn what_is_programmed_in_sleep_is_set_up_afterwards() {
    for keeps_state in [true, false] {
        let world = World::new(model(keeps_state));
        let behind = world.behind();
        let mut device = used(&world, &behind);
        set(&mut device, PM + 4, &[3, 0]).unwrap();
        set(&mut device, MSIX + 2, &[0, 0xc0]).unwrap();
        assert_eq!(
            device.backend().connected,
            BTreeSet::from([1]),
            "not while it sleeps"
        );
        set(&mut device, PM + 4, &[0, 0]).unwrap();
        assert_eq!(device.backend().connected, BTreeSet::new());
        set(&mut device, MSIX + 2, &[0, 0x80]).unwrap();
        assert_eq!(device.backend().connected, BTreeSet::from([1]));
        // Off, and MSI on instead.
        set(&mut device, PM + 4, &[3, 0]).unwrap();
        set(&mut device, MSIX + 2, &[0, 0]).unwrap();
        set(&mut device, MSI + 2, &[1, 0]).unwrap();
        assert_eq!(device.irqs().active(), Some(IrqKind::MsiX));
        set(&mut device, PM + 4, &[0, 0]).unwrap();
        assert_eq!(device.irqs().active(), Some(IrqKind::Msi));
        assert_eq!(device.backend().connected, BTreeSet::from([0]));
        device.close(LastReset::Now).unwrap();
        assert_closed(&world);
    }
}

/// Vectors that the owner has set up itself are not the guest's to lose.
#[test]
fn an_owners_own_vectors_outlive_a_sleep() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    let request = IrqRequest {
        index: 2,
        range: IrqRange { start: 0, count: 2 },
        action: IrqAction::Signal(&[true, true]),
    };
    device.set_irqs(&request).unwrap();
    set(&mut device, PM + 4, &[3, 0]).unwrap();
    set(&mut device, PM + 4, &[0, 0]).unwrap();
    assert_eq!(device.backend().connected, BTreeSet::from([0, 1]));
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}
