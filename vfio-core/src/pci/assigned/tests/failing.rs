//! Hardware that refuses: nothing is left on that nobody asked for.

use super::*;
use crate::testing::pci::Vice;

#[test]
fn vectors_that_cannot_be_had_leave_msix_off() {
    for fails_in in 0..3 {
        let world = World::new(model(true));
        let behind = world.behind();
        let mut device = world.open(&behind);
        command(&mut device, 6).unwrap();
        entry(&mut device, 0, 0x40);
        entry(&mut device, 1, 0x41);
        ask(&mut device, 0, IrqAction::Signal(&[true])).unwrap();
        device.backend().fails_in = Some(fails_in);
        let enabled = set(&mut device, MSIX + 2, &[0, 0x80]);
        assert_eq!(enabled, Err(AccessError::Fault(Fault::NoResources)));
        assert_eq!(get(&mut device, MSIX + 2) & 0x8000, 0, "the guest finds it off");
        assert_eq!(world.registers().u16(MSIX + 2) & 0x8000, 0);
        assert_eq!(device.irqs().active(), Some(IrqKind::Intx), "as before");
        set(&mut device, MSIX + 2, &[0, 0x80]).unwrap();
        assert_eq!(device.backend().connected, BTreeSet::from([0, 1]));
        // One vector, later: only that one is silent.
        entry(&mut device, 2, 0x42);
        Device::write(&mut device, 0, TABLE + 44, &[1, 0, 0, 0]).unwrap();
        device.backend().fails_in = Some(0);
        let unmasked = Device::write(&mut device, 0, TABLE + 44, &[0, 0, 0, 0]);
        assert_eq!(unmasked, Err(AccessError::Fault(Fault::NoResources)));
        assert_eq!(device.backend().connected, BTreeSet::from([0, 1]));
        device.close(LastReset::Now).unwrap();
        assert_closed(&world);
    }
}

#[test]
fn the_same_for_msi_and_after_a_reset_by_the_back_door() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    command(&mut device, 6).unwrap();
    device.backend().fails_in = Some(1);
    assert!(set(&mut device, MSI + 2, &[0x21, 0]).is_err());
    assert_eq!((get(&mut device, MSI + 2) & 1, device.irqs().active()), (0, None));
    set(&mut device, MSI + 2, &[0x21, 0]).unwrap();
    assert_eq!(device.backend().connected.len(), 4);
    world.registers().set_u16(EXPRESS + 8, 0x8000);
    device.backend().fails_in = Some(2);
    assert_eq!(device.check_reset(), Err(Fault::NoResources));
    assert_eq!((get(&mut device, MSI + 2) & 1, device.irqs().active()), (0, None));
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn p19_a_close_takes_all_away_although_the_function_does_not_obey() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    command(&mut device, 6).unwrap();
    entry(&mut device, 0, 0x40);
    set(&mut device, MSIX + 2, &[0, 0x80]).unwrap();
    world
        .fake
        .change(bdf(AT), |model| model.vice = Vice::KeepsMastering);
    let closed = device.close(LastReset::Later).unwrap_err();
    assert_eq!(closed, FunctionError::KeepsMastering(bdf(AT)));
    assert!(!world.shown.any());
    assert_eq!(world.registers().u16(MSIX + 2) & 0x8000, 0);
}

#[test]
fn p19_mappings_that_stay_are_told_and_the_rest_is_done() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    command(&mut device, 6).unwrap();
    world.shown.stubborn.set(true);
    assert_eq!(Device::reset(&mut device), Err(Fault::Busy));
    assert_eq!(
        set(&mut device, PM + 4, &[3, 0]),
        Err(AccessError::Fault(Fault::Busy))
    );
    assert_eq!(get(&mut device, PM + 4) & 3, 0);
    let resets = world.resets();
    let fault = Fault::Busy;
    let function = bdf(AT);
    let closed = device.close(LastReset::Now).unwrap_err();
    assert_eq!(closed, FunctionError::Exposed { function, fault });
    assert_eq!(world.resets(), resets + 1);
    assert_eq!(world.registers().command(), Command::INTX_DISABLE);
}

#[test]
fn a_function_without_a_reset_says_so_and_stays_as_it_is() {
    let mut bare = Model::endpoint().bar(0, 4, 0x4000, 0xfe60_0000);
    bare = bare.writable(header::ROM_ENDPOINT, 0xffff_0001);
    bare.put32(header::ROM_ENDPOINT, 0xfe70_0000);
    let world = World::new(bare);
    let behind = world.behind();
    let mut device = world.open(&behind);
    command(&mut device, 6).unwrap();
    assert!(!device.can_reset());
    assert_eq!(Device::reset(&mut device), Err(Fault::Unknown));
    assert!(device.is_shown());
    assert_eq!(get(&mut device, header::COMMAND), 6);
    assert_eq!(device.irq(0).unwrap().count, 0, "it has no pin");
    device.close(LastReset::Now).unwrap();
}
