//! Interrupts: what was routed arrives, from whom it was routed for, and nothing else.

use super::*;
use crate::iommu::{Source, Target};
use vfio_core::pci::Bdf;

fn source(id: u16, entry: u16) -> Source {
    Source {
        function: Bdf::from_requester_id(0, id),
        requester: by(id),
        entry,
    }
}

fn target(apic: u32, vector: u8) -> Target {
    Target { apic, vector }
}

#[test]
fn what_is_routed_arrives_and_only_from_its_device() {
    for (capability, extended) in kinds() {
        let device = Device::new(capability, extended);
        let mut unit = ready(&device);
        assert!(unit.remaps_interrupts());
        // Whatever entry it will be, a unit that remembers what is absent does.
        for index in 0..8 {
            assert_eq!(device.message(A, 0xfee0_0010 | index << 5, 0), None);
        }
        let first = unit.route(source(A, 0), target(1, 0x41)).unwrap();
        let second = unit.route(source(A, 1), target(2, 0x42)).unwrap();
        let other = unit.route(source(B, 0), target(3, 0x43)).unwrap();
        assert_eq!(device.message(A, first.address, first.data), Some((1, 0x41)));
        assert_eq!(device.message(A, second.address, second.data), Some((2, 0x42)));
        assert_eq!(device.message(B, other.address, other.data), Some((3, 0x43)));
        assert_eq!(device.message(B, first.address, 0), None, "another's entry");
        assert_eq!(device.message(A, 0xfee0_1000, 0x41), None, "compatibility format");
        assert_eq!(
            device.message(A, 0xfee0_0010 | 9 << 5, 0),
            None,
            "an entry that is nobody's"
        );
        assert_eq!(
            device.message(A, 0xfee0_0010 | 0x7fff << 5, 0),
            None,
            "beyond the table"
        );
        let again = unit.route(source(A, 0), target(3, 0x51)).unwrap();
        assert_eq!(again, first, "the message stays when the target changes");
        assert_eq!(device.message(A, first.address, 0), Some((3, 0x51)));
        unit.release_interrupts(source(A, 0).function).unwrap();
        assert_eq!(device.message(A, first.address, 0), None);
        assert_eq!(device.message(A, second.address, 0), None);
        assert_eq!(device.message(B, other.address, 0), Some((3, 0x43)));
        let reused = unit.route(source(B, 1), target(1, 0x61)).unwrap();
        assert_eq!(reused, first, "the entry is free again");
        assert_eq!(device.message(A, reused.address, 0), None);
        assert_eq!(device.message(B, reused.address, 0), Some((1, 0x61)));
    }
}

#[test]
fn an_interrupt_is_never_lost_while_it_moves() {
    let device = Device::new(CAPABILITY, EXTENDED);
    let mut unit = ready(&device);
    let message = unit.route(source(A, 0), target(1, 0x41)).unwrap();
    // Between the store and its invalidation the unit may use the one or the other, never neither.
    device.set(|state| state.habit = Habit::Sleeps);
    assert_eq!(device.message(A, message.address, 0), Some((1, 0x41)));
    assert!(unit.route(source(A, 0), target(2, 0x42)).is_err());
    assert_eq!(
        device.message(A, message.address, 0),
        Some((1, 0x41)),
        "remembered"
    );
}

#[test]
fn destinations_are_as_wide_as_the_local_apics() {
    let device = Device::new(CAPABILITY, EXTENDED);
    let mut unit = ready(&device);
    for (apic, vector) in [(255, 0x41), (256, 0x41), (1, 15)] {
        let refused = unit.route(source(A, 0), target(apic, vector));
        assert_eq!(refused, Err(Error::Target), "{apic} {vector}");
    }
    let about = Description {
        x2apic: true,
        ..describe()
    };
    let device = Device::new(CAPABILITY, EXTENDED);
    let mut unit = Vtd::init(device.clone(), device.clone(), device.clone(), about).unwrap();
    let message = unit.route(source(A, 0), target(0x12345, 0x41)).unwrap();
    assert_eq!(device.message(A, message.address, 0), Some((0x12345, 0x41)));
    assert_eq!(
        unit.route(source(A, 0), target(u32::MAX, 0x41)),
        Err(Error::Target)
    );
}

#[test]
fn a_unit_without_remapping_says_so_and_lets_messages_be_what_they_are() {
    let device = Device::new(CAPABILITY, EXTENDED & !(1 << 3));
    let mut unit = ready(&device);
    assert!(!unit.remaps_interrupts());
    let message = unit.route(source(A, 0), target(2, 0x41)).unwrap();
    assert_eq!((message.address, message.data), (0xfee0_2000, 0x41));
    assert_eq!(unit.release_interrupts(source(A, 0).function), Ok(()));
    let about = Description {
        remap_interrupts: false,
        ..describe()
    };
    let device = Device::new(CAPABILITY, EXTENDED);
    let unit = Vtd::init(device.clone(), device.clone(), device.clone(), about).unwrap();
    assert!(
        !unit.remaps_interrupts(),
        "firmware says that the platform does not"
    );
}

#[test]
fn the_table_fills_up_and_empties() {
    let device = Device::new(CAPABILITY, EXTENDED);
    let mut unit = ready(&device);
    let mut messages = std::collections::BTreeSet::new();
    for entry in 0..1024 {
        let message = unit.route(source(A, entry), target(1, 0x41)).unwrap();
        assert!(messages.insert(message.address));
        assert_eq!(device.message(A, message.address, 0), Some((1, 0x41)));
    }
    let full = unit.route(source(B, 0), target(1, 0x41));
    assert_eq!(full, Err(Error::NoEntries));
    unit.release_interrupts(source(A, 0).function).unwrap();
    for address in messages {
        assert_eq!(device.message(A, address, 0), None);
    }
    assert!(unit.route(source(B, 0), target(1, 0x41)).is_ok());
}
