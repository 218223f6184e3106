//! What the guest programs arrives at the hardware, and what the hardware signals at the guest.

use super::*;

fn enable_msix(device: &mut Open<'_>, on: bool) {
    set(device, MSIX + 2, &[0, if on { 0x80 } else { 0 }]).unwrap();
}

#[test]
fn msix_vectors_follow_the_table_and_its_masks() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    command(&mut device, 6).unwrap();
    entry(&mut device, 1, 0x41);
    assert_eq!(device.irqs().active(), None, "nothing before MSI-X is on");
    enable_msix(&mut device, true);
    assert_eq!(world.registers().u16(MSIX + 2) & 0x8000, 0x8000);
    assert_eq!(device.backend().connected, BTreeSet::from([1]));
    let message = Message {
        address: 0xfee0_0000,
        data: 0x41,
    };
    assert_eq!(device.message(IrqKind::MsiX, 1), Some(message));
    assert!(device.arrived(IrqKind::MsiX, 1));
    assert!(!device.arrived(IrqKind::Msi, 1) && !device.arrived(IrqKind::MsiX, 77));
    // What comes while the guest masks it is pending, and delivered at the unmask.
    Device::write(&mut device, 0, TABLE + 28, &[1, 0, 0, 0]).unwrap();
    assert!(device.backend().connected.is_empty());
    assert!(device.arrived(IrqKind::MsiX, 1));
    let mut pending = [0; 8];
    Device::read(&mut device, 0, PENDING, &mut pending).unwrap();
    assert_eq!(pending[0], 2);
    assert_eq!(device.backend().signals, [(2, 1)]);
    Device::write(&mut device, 0, TABLE + 28, &[0, 0, 0, 0]).unwrap();
    assert_eq!(device.backend().signals, [(2, 1), (2, 1)]);
    // The whole function masked, and on again.
    set(&mut device, MSIX + 2, &[0, 0xc0]).unwrap();
    assert!(device.backend().connected.is_empty());
    set(&mut device, MSIX + 2, &[0, 0x80]).unwrap();
    assert_eq!(device.backend().connected, BTreeSet::from([1]));
    // The table is a model: it reads as written, whole dwords only, and pending bits take nothing.
    let mut four = [0; 4];
    Device::read(&mut device, 0, TABLE + 24, &mut four).unwrap();
    assert_eq!(four, [0x41, 0, 0, 0]);
    let byte = Device::write(&mut device, 0, TABLE + 24, &[1]);
    assert!(matches!(byte, Err(AccessError::Shape { len: 1, .. })));
    Device::write(&mut device, 0, PENDING, &[0xff; 8]).unwrap();
    enable_msix(&mut device, false);
    assert_eq!((device.irqs().active(), device.backend().kind), (None, None));
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn msi_vectors_follow_the_capability() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    set(&mut device, MSI + 4, &0xfee0_1000_u32.to_le_bytes()).unwrap();
    set(&mut device, MSI + 12, &[0x30, 0]).unwrap();
    // Two vectors of four.
    set(&mut device, MSI + 2, &[0x11, 0]).unwrap();
    assert_eq!(device.irqs().allocated(), 2);
    assert_eq!(device.backend().connected, BTreeSet::from([0, 1]));
    assert_eq!(device.message(IrqKind::Msi, 1).unwrap().data, 0x31);
    assert!(device.arrived(IrqKind::Msi, 1));
    set(&mut device, MSI + 16, &[2, 0, 0, 0]).unwrap();
    assert_eq!(device.backend().connected, BTreeSet::from([0]));
    assert!(device.arrived(IrqKind::Msi, 1), "pending");
    set(&mut device, MSI + 16, &[0, 0, 0, 0]).unwrap();
    assert_eq!(device.backend().signals, [(1, 1), (1, 1)]);
    // One vector only.
    set(&mut device, MSI + 2, &[0x01, 0]).unwrap();
    assert_eq!(device.irqs().allocated(), 1);
    set(&mut device, MSI + 2, &[0, 0]).unwrap();
    assert_eq!(device.backend().kind, None);
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn intx_makes_way_for_messages_and_comes_back() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    command(&mut device, 6).unwrap();
    let masked = || world.registers().command().contains(Command::INTX_DISABLE);
    assert!(masked(), "until somebody listens");
    ask(&mut device, 0, IrqAction::Signal(&[true])).unwrap();
    assert!(!masked() && !device.backend().held);
    device.backend().asserted = true;
    assert!(device.arrived(IrqKind::Intx, 0));
    assert!(masked(), "until it was served");
    device.backend().asserted = false;
    ask(&mut device, 0, IrqAction::Unmask).unwrap();
    assert!(!masked());
    command(&mut device, 0x406).unwrap();
    assert!(masked(), "the guest does not want it");
    command(&mut device, 6).unwrap();
    assert!(!masked());
    entry(&mut device, 0, 1);
    enable_msix(&mut device, true);
    assert!(masked(), "only one kind at a time");
    assert_eq!(device.irqs().active(), Some(IrqKind::MsiX));
    assert_eq!(
        ask(&mut device, 0, IrqAction::Signal(&[true])),
        Err(IrqError::OtherInUse(2))
    );
    enable_msix(&mut device, false);
    assert!(!masked() && device.irqs().active() == Some(IrqKind::Intx));
    assert_eq!(device.backend().signals, [(0, 0)]);
    // One that its owner gives up meanwhile does not come back.
    enable_msix(&mut device, true);
    ask(&mut device, 0, IrqAction::Disable).unwrap();
    enable_msix(&mut device, false);
    assert!(masked() && device.irqs().active().is_none());
    ask(&mut device, 4, IrqAction::Signal(&[true])).unwrap();
    assert!(device.event(4) && !device.event(3));
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn an_owner_without_a_guest_sets_vectors_up_itself() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    let request = IrqRequest {
        index: 2,
        range: IrqRange { start: 0, count: 2 },
        action: IrqAction::Signal(&[true, false]),
    };
    device.set_irqs(&request).unwrap();
    assert!(device.arrived(IrqKind::MsiX, 0));
    assert_eq!(device.backend().signals, [(2, 0)]);
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}
