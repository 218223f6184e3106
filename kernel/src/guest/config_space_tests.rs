//! A function's configuration space as a guest explores it.

use super::super::bars::assign;
use super::super::fixture::{Bytes, NVME, bar64, capability as cap, function};
use super::*;
use crate::pci::{MsiX, TableLocation};
use proptest::prelude::*;
use vfio_core::pci::config::Express;

/// Capabilities at 0x40 (SSVID, hidden), 0x50 (PM), 0x60 (MSI-X), 0x80 (PCI Express), 0xc0 (MSI, hidden).
fn nvme() -> (Bytes, ConfigSpace) {
    let location = |offset, length| TableLocation {
        bar: 0,
        offset,
        length,
    };
    let nvme = function(|f| {
        f.bars = vec![bar64(0, 0xfe00_0000, 0x4000)];
        f.capabilities = vec![
            cap(0x0d, 0x40),
            cap(1, 0x50),
            cap(0x11, 0x60),
            cap(0x10, 0x80),
            cap(5, 0xc0),
        ];
        f.msix = Some(MsiX {
            offset: 0x60,
            vectors: 65,
            table: location(0x2000, 65 * 16),
            pending: location(0x3000, 16),
        });
        f.express = Some(Express {
            offset: 0x80,
            version: 2,
            port_type: 0,
            slot: false,
            reports_link: false,
        });
    });
    let config = Bytes::default();
    config.put(NVME, 0, &[0x36, 0x1b, 0x10, 0, 0, 0, 0x18, 0, 2, 2, 8, 1]);
    config.put(NVME, 0x2c, &[0xf4, 0x1a, 0, 0x11]);
    config.put(NVME, 0x3d, &[1]);
    config.put(NVME, 0x40, &[0x0d, 0x50, 1, 2, 3, 4]);
    config.put(NVME, 0x50, &[1, 0x60, 3, 0xc8, 8, 0]);
    config.put(NVME, 0x60, &[0x11, 0x80, 0x40, 0, 0, 0x20, 0, 0, 0, 0x30, 0, 0]);
    config.put(NVME, 0x80, &[0x10, 0xc0, 2, 0, 0, 0x80, 0, 0x10, 0x10, 0x28]);
    config.put(NVME, 0xc0, &[5, 0, 0x80, 0]);
    config.put(NVME, 0x100, &[1, 0, 1, 0]);
    let bars = assign(&[&nvme]).unwrap().remove(0);
    let space = ConfigSpace::new(&config, &nvme, bars, false);
    (config, space)
}

#[test]
fn the_capability_list_shows_what_is_known() {
    let (config, space) = nvme();
    assert_eq!(space.read(&config, 0, Width::Dword), 0x0010_1b36);
    assert_eq!(space.read(&config, header::STATUS, Width::Word), 0x10);
    let mut at = space.read(&config, header::CAPABILITIES, Width::Byte) as u16;
    let mut ids = Vec::new();
    while at != 0 {
        ids.push(space.read(&config, at, Width::Byte));
        at = space.read(&config, at + 1, Width::Byte) as u16;
    }
    assert_eq!(ids, [1, 0x11, 0x10]);
    for hidden in [0x40, 0x44, 0xc0, 0x100, 0xffc] {
        assert_eq!(space.read(&config, hidden, Width::Dword), 0, "{hidden:#x}");
    }
}

#[test]
fn reset_pme_and_intx_are_not_offered() {
    let (config, space) = nvme();
    assert_eq!(space.read(&config, 0x84, Width::Dword), 0x0000_8000, "no FLR");
    assert_eq!(space.read(&config, 0x88, Width::Word), 0x2810);
    assert_eq!(space.read(&config, 0x52, Width::Word), 3, "no PME");
    assert_eq!(space.read(&config, 0x54, Width::Word), 8);
    assert_eq!(space.read(&config, header::INTERRUPT_PIN, Width::Byte), 0);
}

#[test]
fn command_reaches_the_hardware_with_intx_off() {
    let (config, mut space) = nvme();
    space.write(&config, header::COMMAND, Width::Dword, 0xffff_0147);
    assert_eq!(
        *config.writes.borrow(),
        [(NVME, 4, Width::Word, 0x406)],
        "status is not written"
    );
    assert_eq!(space.read(&config, header::COMMAND, Width::Word), 0x546);
    space.write(&config, header::COMMAND, Width::Byte, 0);
    assert_eq!(space.read(&config, header::COMMAND, Width::Word), 0x500);
    assert_eq!(config.read(NVME, 4, Width::Word), 0x400);
}

#[test]
fn msix_control_is_reported_and_kept_from_the_hardware() {
    let (config, mut space) = nvme();
    let enable = space.write(&config, 0x62, Width::Word, 0x8000);
    assert_eq!(
        enable,
        ConfigEffect::Msix {
            enabled: true,
            masked: false
        }
    );
    assert_eq!(
        space.write(&config, 0x62, Width::Word, 0x8000),
        ConfigEffect::None
    );
    let mask = space.write(&config, 0x60, Width::Dword, 0xc000_0000);
    assert!(matches!(
        mask,
        ConfigEffect::Msix {
            enabled: true,
            masked: true
        }
    ));
    assert_eq!(space.read(&config, 0x60, Width::Dword), 0xc040_8011);
    assert_eq!(space.read(&config, 0x64, Width::Dword), 0x2000);
    assert!(config.writes.borrow().is_empty());
}

#[test]
fn bars_are_virtual_and_sized() {
    let (config, mut space) = nvme();
    space.write(&config, header::BAR0, Width::Dword, u32::MAX);
    assert_eq!(space.read(&config, header::BAR0, Width::Dword), 0xffff_c004);
    space.write(&config, header::BAR0, Width::Dword, 0);
    assert_eq!(space.read(&config, header::BAR0 + 2, Width::Word), 0xc000);
    assert!(config.writes.borrow().is_empty());
}

#[test]
fn a_vendor_capability_is_read_only_and_ends_where_it_says() {
    let f = function(|f| f.capabilities = vec![cap(9, 0x40), cap(9, 0x4c)]);
    let config = Bytes::default();
    config.put(NVME, 0x40, &[9, 0x4c, 200, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    config.put(NVME, 0x4c, &[9, 0, 6, 1, 2, 3, 4, 5]);
    let mut space = ConfigSpace::new(&config, &f, BarRegisters::default(), true);
    assert_eq!(space.read(&config, 0x48, Width::Dword), 0x0908_0706);
    assert_eq!(space.read(&config, 0x4c, Width::Dword), 0x0106_0009);
    assert_eq!(space.read(&config, 0x50, Width::Dword), 0x0302);
    assert_eq!(space.read(&config, header::HEADER_TYPE, Width::Byte), 0x80);
    space.write(&config, 0x44, Width::Dword, 0);
    assert!(config.writes.borrow().is_empty());
}

proptest! {
    #[test]
    fn the_guest_changes_two_bits_of_the_hardware_and_no_more(writes in prop::collection::vec((0u16..0x1000, 0..3, any::<u32>()), 1..60)) {
        let (config, mut space) = nvme();
        for (offset, width, value) in writes {
            let width = [Width::Byte, Width::Word, Width::Dword][width as usize];
            let offset = offset & !(width.bytes() - 1);
            space.write(&config, offset, width, value);
            let _ = space.read(&config, offset, width);
        }
        for (bdf, offset, width, value) in config.writes.borrow().iter() {
            prop_assert_eq!((*bdf, *offset, *width), (NVME, header::COMMAND, Width::Word));
            prop_assert_eq!(value & !0x6, 0x400);
        }
    }

    #[test]
    fn narrow_reads_are_parts_of_wide_ones(offset in 0u16..0x1000) {
        let (config, space) = nvme();
        let wide = space.read(&config, offset & !3, Width::Dword);
        prop_assert_eq!(space.read(&config, offset, Width::Byte), wide >> (offset % 4 * 8) & 0xff);
        let half = offset & !1;
        prop_assert_eq!(space.read(&config, half, Width::Word), wide >> (half % 4 * 8) & 0xffff);
    }
}
