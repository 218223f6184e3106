//! Assigned functions for tests, and a configuration space of plain bytes.

use crate::pci::{Bar, BarKind, ConfigAccess, Function, Width};
use std::cell::RefCell;
use std::collections::BTreeMap;
use vfio_core::pci::config::Capability;
use vfio_core::pci::{Bdf, PortKind, ResetMethods};

pub(crate) const NVME: Bdf = Bdf::new(0, 1, 0, 0);

/// A function without anything, changed by `set_up`.
pub(crate) fn function(set_up: impl FnOnce(&mut Function)) -> Function {
    let mut function = Function {
        bdf: NVME,
        vendor: 0x1b36,
        device: 0x0010,
        class: 0x01_0802,
        revision: 2,
        subsystem: 0x1100_1af4,
        interrupt_pin: 1,
        kind: PortKind::Endpoint,
        parent: None,
        buses: None,
        bars: Vec::new(),
        bar_faults: Vec::new(),
        rom: None,
        capabilities: Vec::new(),
        extended: Vec::new(),
        express: None,
        acs: None,
        pm: None,
        af: None,
        msi: None,
        msix: None,
        sriov: None,
        physical_function: None,
        virtio: None,
        resets: ResetMethods::empty(),
        not_assignable: None,
    };
    set_up(&mut function);
    function
}

pub(crate) fn bar32(index: u8, address: u64, size: u64) -> Bar {
    let kind = BarKind::Memory {
        wide: false,
        prefetchable: false,
    };
    Bar {
        index,
        kind,
        address,
        size,
    }
}

pub(crate) fn bar64(index: u8, address: u64, size: u64) -> Bar {
    let kind = BarKind::Memory {
        wide: true,
        prefetchable: false,
    };
    Bar {
        kind,
        ..bar32(index, address, size)
    }
}

pub(crate) fn capability(id: u8, offset: u16) -> Capability {
    Capability { id, offset }
}

/// Configuration space: bytes by function and offset, zero where nothing was written, and a log of writes.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    pub(crate) bytes: RefCell<BTreeMap<(Bdf, u16), u8>>,
    pub(crate) writes: RefCell<Vec<(Bdf, u16, Width, u32)>>,
}

impl Bytes {
    pub(crate) fn put(&self, bdf: Bdf, offset: u16, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            self.bytes.borrow_mut().insert((bdf, at), *byte);
        }
    }
}

impl ConfigAccess for Bytes {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        assert_eq!(offset % width.bytes(), 0);
        let bytes = self.bytes.borrow();
        (0..width.bytes()).rev().fold(0, |value, at| {
            value << 8 | u32::from(bytes.get(&(function, offset + at)).copied().unwrap_or(0))
        })
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        assert_eq!(offset % width.bytes(), 0);
        self.writes.borrow_mut().push((function, offset, width, value));
        self.put(
            function,
            offset,
            &value.to_le_bytes()[..usize::from(width.bytes())],
        );
    }
}
