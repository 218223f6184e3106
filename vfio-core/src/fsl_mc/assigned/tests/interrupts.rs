//! Interrupts of open objects, from a pool that ends, and failures while one is set up.

use super::*;
use crate::device::IrqFlags;

#[test]
fn an_interrupt_goes_to_the_sink_from_when_it_is_set_up_until_it_is_not() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut device = world.trapped(DPNI);
    assert_eq!(
        device.irq(1),
        Some(IrqInfo {
            count: 1,
            flags: IrqFlags::SIGNAL
        })
    );
    assert_eq!(device.irq(2), None);
    let signals = || world.platform.signals.borrow().len();
    // Nothing was set up yet: neither is an error, and nothing happens.
    device.set_irqs(&request(1, IrqAction::Disable)).unwrap();
    device.set_irqs(&request(1, IrqAction::Trigger)).unwrap();
    device.set_irqs(&request(1, IrqAction::Signal(&[false]))).unwrap();
    assert_eq!((signals(), world.irqs.free()), (0, 4));

    device.set_irqs(&request(1, IrqAction::Signal(&[true]))).unwrap();
    device.set_irqs(&request(1, IrqAction::Signal(&[true]))).unwrap();
    assert_eq!(world.irqs.free(), 3);
    let irq = mc.world.borrow_mut().object(DPNI).unwrap().irq.clone();
    assert_eq!(irq, BTreeMap::from([(1, (0xfee0_0000, 0))]));
    device.set_irqs(&request(1, IrqAction::Trigger)).unwrap();
    device.set_irqs(&request(0, IrqAction::Trigger)).unwrap();
    assert_eq!(*world.platform.signals.borrow(), [(DPNI.into(), 1, 0)]);

    // A reset leaves interrupts where they were.
    device.reset().unwrap();
    assert_eq!(mc.world.borrow_mut().object(DPNI).unwrap().irq, irq);
    device.set_irqs(&request(1, IrqAction::Disable)).unwrap();
    device.set_irqs(&request(1, IrqAction::Trigger)).unwrap();
    assert_eq!((signals(), world.irqs.free()), (1, 4));
    assert!(world.platform.connected.borrow().is_empty());
}

#[test]
fn a_container_sets_its_own_interrupt_and_requests_that_make_no_sense_change_nothing() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut device = world.trapped(DPRC);
    device.set_irqs(&request(0, IrqAction::Signal(&[true]))).unwrap();
    assert_eq!(mc.world.borrow_mut().object(DPRC).unwrap().irq.len(), 1);
    let commands = mc.commands();
    let range = |start, count| IrqRange { start, count };
    for (index, range, action) in [
        (1, range(0, 1), IrqAction::Trigger),
        (u32::MAX, range(0, 1), IrqAction::Trigger),
        (0, range(0, 2), IrqAction::Trigger),
        (0, range(1, 1), IrqAction::Signal(&[true])),
        (0, range(u32::MAX, 1), IrqAction::Trigger),
        (0, range(0, 1), IrqAction::Signal(&[])),
        (0, range(0, 1), IrqAction::Signal(&[true, true])),
        (0, range(0, 1), IrqAction::Disable),
        (0, range(0, 1), IrqAction::Mask),
        (0, range(0, 1), IrqAction::Unmask),
        (0, range(0, 0), IrqAction::Trigger),
    ] {
        assert!(
            device.set_irqs(&IrqRequest { index, range, action }).is_err(),
            "{action:?}"
        );
    }
    assert_eq!((mc.commands(), world.irqs.free()), (commands, 3));
}

#[test]
fn interrupts_run_out_and_come_back() {
    let mc = complex();
    let world = World::new(&mc, 1);
    let mut device = world.trapped(DPNI);
    device.set_irqs(&request(0, IrqAction::Signal(&[true]))).unwrap();
    assert_eq!(
        device.set_irqs(&request(1, IrqAction::Signal(&[true]))),
        Err(IrqError::Fewer(0))
    );
    device.set_irqs(&request(0, IrqAction::Disable)).unwrap();
    device.set_irqs(&request(1, IrqAction::Signal(&[true]))).unwrap();
    device.close().unwrap();
    assert_eq!(world.irqs.free(), 1);
}

#[test]
fn an_interrupt_that_cannot_be_set_up_leaves_nothing() {
    let mc = complex();
    let world = World::new(&mc, 2);
    let mut device = world.trapped(DPNI);
    world.platform.fails.set(true);
    let no_vector = Err(IrqError::Fault(Fault::NoResources));
    assert_eq!(
        device.set_irqs(&request(0, IrqAction::Signal(&[true]))),
        no_vector
    );
    world.platform.fails.set(false);
    for at in 0..3 {
        mc.fail(at, Misbehaviour::Refuse(4));
        // Open, set, close: a close that fails leaves the interrupt set, and is an error all the same.
        let result = device.set_irqs(&request(0, IrqAction::Signal(&[true])));
        assert_eq!(result, Err(IrqError::Fault(Fault::Rejected)), "failure at {at}");
        assert!(world.platform.connected.borrow().is_empty());
        assert_eq!(world.irqs.free(), 2);
        // The object that could not be closed: the hypervisor's portal has it open for good.
        mc.world.borrow_mut().tokens.clear();
    }
}
