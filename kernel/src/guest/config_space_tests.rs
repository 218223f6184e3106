//! What is offered, and what is not. The rules themselves are tested in `vfio-core`.

use super::super::bars::assign;
use super::super::fixture::{Bytes, NVME, bar64, capability as cap, function};
use super::*;
use crate::pci::{MsiX, TableLocation, Width};
use proptest::prelude::*;
use vfio_core::pci::config::{Express, ExtendedCapability, Msi};
use vfio_core::pci::spec::header;
use vfio_core::pci::vconfig::{Effect, PowerState, VirtualConfig};

/// Capabilities at 0x40 (VPD), 0x50 (PM), 0x60 (MSI-X), 0x80 (PCI Express), 0xc0 (MSI), 0x100 (serial number).
fn nvme(with_msix: bool) -> (Bytes, VirtualConfig) {
    let location = |offset, length| TableLocation {
        bar: 0,
        offset,
        length,
    };
    let nvme = function(|f| {
        f.bars = vec![bar64(0, 0xfe00_0000, 0x4000)];
        f.capabilities = vec![
            cap(3, 0x40),
            cap(1, 0x50),
            cap(0x11, 0x60),
            cap(0x10, 0x80),
            cap(5, 0xc0),
        ];
        f.msix = with_msix.then_some(MsiX {
            offset: 0x60,
            vectors: 65,
            table: location(0x2000, 65 * 16),
            pending: location(0x3000, 16),
        });
        f.msi = Some(Msi {
            offset: 0xc0,
            vectors: 8,
            address_64: true,
            maskable: false,
        });
        f.express = Some(Express {
            offset: 0x80,
            version: 2,
            port_type: 0,
            slot: false,
            reports_link: false,
        });
        f.extended = vec![ExtendedCapability {
            id: 3,
            version: 1,
            offset: 0x100,
        }];
    });
    let config = Bytes::default();
    config.put(NVME, 0, &[0x36, 0x1b, 0x10, 0, 0, 0, 0x18, 0, 2, 2, 8, 1]);
    config.put(NVME, 0x10, &[4, 0, 0, 0xfe]);
    config.put(NVME, 0x3d, &[1]);
    config.put(NVME, 0x50, &[1, 0x60, 3, 0xce, 8, 0]);
    config.put(NVME, 0x80, &[0x10, 0xc0, 2, 0, 0, 0x80, 0, 0x10, 0x10, 0x28]);
    config.put(NVME, 0x100, &[3, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let bars = assign(&[&nvme]).unwrap().remove(0);
    let open = open_function(&config, &nvme, &bars, 0x18, false, false);
    (config, open.config().clone())
}

fn read(config: &Bytes, space: &VirtualConfig, offset: u16) -> u32 {
    space.read(config, offset, Width::Dword).unwrap()
}

fn list(config: &Bytes, space: &VirtualConfig) -> Vec<u8> {
    let mut at = read(config, space, header::CAPABILITIES) as u16 & 0xff;
    let mut ids = Vec::new();
    while at != 0 {
        let head = read(config, space, at);
        ids.push(head as u8);
        at = (head >> 8) as u16 & 0xff;
    }
    ids
}

#[test]
fn msi_has_one_vector_beside_msix_or_without() {
    let (config, space) = nvme(true);
    assert_eq!(list(&config, &space), [3, 1, 0x11, 0x10, 5]);
    let (config, space) = nvme(false);
    assert_eq!(list(&config, &space), [3, 1, 0x10, 5]);
    assert_eq!(
        read(&config, &space, 0xc0) >> 16,
        0x0080,
        "one vector of eight, 64 bits"
    );
}

#[test]
fn power_states_are_offered_and_resets_that_do_not_work_and_intx_are_not() {
    let (config, mut space) = nvme(true);
    assert_eq!(read(&config, &space, 0x84), 0x8000, "no FLR");
    assert_eq!(read(&config, &space, 0x50) >> 16, 0x603, "D1, D2, no PME");
    assert_eq!(read(&config, &space, 0x3c), 0, "no pin");
    let effects = space.write(&config, 0x88, Width::Word, 0x8000).unwrap();
    assert!(effects.is_empty());
    let effects = space.write(&config, 0x54, Width::Word, 3).unwrap();
    assert_eq!(effects.as_slice(), [Effect::Power(PowerState::D3hot)]);
    let effects = space.write(&config, header::COMMAND, Width::Word, 2).unwrap();
    assert!(effects.contains(&Effect::Decode {
        memory: true,
        io: false
    }));
    assert_eq!(config.read(NVME, 4, Width::Word), 0x402, "INTx is masked");
}

#[test]
fn the_serial_number_is_made_up() {
    let (config, space) = nvme(true);
    assert_eq!(read(&config, &space, 0x100), 0x1_0003);
    assert_eq!(
        (read(&config, &space, 0x104), read(&config, &space, 0x108)),
        (0x18, 0x0200_0000)
    );
}

proptest! {
    #[test]
    fn the_guest_changes_five_registers_of_the_hardware_and_no_more(writes in prop::collection::vec((0u16..0x1000, 0..3, any::<u32>()), 1..60)) {
        let (config, mut space) = nvme(true);
        for (offset, width, value) in writes {
            let width = [Width::Byte, Width::Word, Width::Dword][width as usize];
            let offset = offset & !(width.bytes() - 1);
            space.write(&config, offset, width, value).unwrap();
            let _ = space.read(&config, offset, width);
        }
        for (bdf, offset, width, value) in config.writes.borrow().iter() {
            prop_assert_eq!(*bdf, NVME);
            // Command, cache line and latency, device control and control 2; BARs only as they were.
            let place = (offset & !1, *width);
            match place {
                (4, Width::Word) => prop_assert_eq!(value & !0x023f, 0x400),
                (0xc, Width::Byte | Width::Word) | (0xa8, Width::Byte | Width::Word) => {}
                (0x88, Width::Word) => prop_assert_eq!(value & 0x8200, 0),
                (0x10, Width::Dword) => prop_assert_eq!(*value, 0xfe00_0004),
                _ => prop_assert!(false, "{:#x}", offset),
            }
        }
    }
}
