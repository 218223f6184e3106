//! The virtual configuration space: rows by example, accesses at random against a model of single bits, devices that lie.

#![cfg(not(loom))]

mod bars;
mod hostile;
mod model;
mod rows;

use super::*;
use crate::pci::Bdf;
use crate::pci::config::{Bar, BarKind, ConfigAccess, Function, Width};
use crate::pci::spec::header;
use crate::testing::pci::{Machine, Model, bdf, found};
use std::cell::{Cell, RefCell};
use std::vec::Vec;

/// A function whose every bit can be written, so that each write that should not have been is seen. It keeps a log.
pub(super) struct Fake {
    pub(super) bytes: RefCell<Vec<u8>>,
    pub(super) writes: RefCell<Vec<(u16, Width, u32)>>,
    /// Bits that a written one clears, at an offset of four bytes.
    pub(super) clears: Vec<(u16, u32)>,
    /// If not zero, every read answers something else.
    pub(super) noise: Cell<u64>,
}

impl Fake {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: RefCell::new(bytes),
            writes: RefCell::new(Vec::new()),
            clears: Vec::new(),
            noise: Cell::new(0),
        }
    }

    pub(super) fn dword(&self, offset: u16) -> u32 {
        u32::from_le_bytes(
            self.bytes.borrow()[usize::from(offset)..][..4]
                .try_into()
                .unwrap(),
        )
    }

    pub(super) fn put(&self, offset: u16, value: u32) {
        self.bytes.borrow_mut()[usize::from(offset)..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

impl ConfigAccess for Fake {
    fn read(&self, _: Bdf, offset: u16, width: Width) -> u32 {
        assert!(offset.is_multiple_of(width.bytes()) && offset + width.bytes() <= 0x1000);
        let mask = u32::MAX >> (32 - 8 * width.bytes());
        if self.noise.get() != 0 {
            let next = self
                .noise
                .get()
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            self.noise.set(next);
            return (next >> 32) as u32 & mask;
        }
        self.dword(offset & !3) >> (8 * (offset & 3)) & mask
    }

    fn write(&self, _: Bdf, offset: u16, width: Width, value: u32) {
        assert!(offset.is_multiple_of(width.bytes()) && offset + width.bytes() <= 0x1000);
        self.writes.borrow_mut().push((offset, width, value));
        let (at, shift) = (offset & !3, 8 * (offset & 3));
        let mask = u32::MAX >> (32 - 8 * width.bytes()) << shift;
        let (old, value) = (self.dword(at), value << shift & mask);
        let clear = self
            .clears
            .iter()
            .find(|(register, _)| *register == at)
            .map_or(0, |(_, bits)| *bits);
        self.put(at, (old & !mask | value) & !clear | old & !value & clear);
    }
}

pub(super) const AT: &str = "00:04.0";

/// Where the capabilities of [`rich`] are.
pub(super) mod at {
    pub(crate) const SSVID: u16 = 0x40;
    pub(crate) const PM: u16 = 0x48;
    pub(crate) const MSI: u16 = 0x50;
    pub(crate) const MSIX: u16 = 0x68;
    pub(crate) const VPD: u16 = 0x74;
    pub(crate) const VENDOR: u16 = 0x7c;
    pub(crate) const EXPRESS: u16 = 0x88;
    pub(crate) const AF: u16 = 0xc4;
    pub(crate) const HIDDEN: u16 = 0x100;
    pub(crate) const AER: u16 = 0x140;
    pub(crate) const SERIAL: u16 = 0x180;
    pub(crate) const PASID: u16 = 0x1c0;
    pub(crate) const POWER: u16 = 0x200;
    pub(crate) const SRIOV: u16 = 0x240;
}

/// A function with one of everything, as discovery finds it.
pub(super) fn rich() -> (Fake, Function) {
    let model = Model::new(0x1b36, 0x0010, 0x01_0802, 0)
        .bar(0, 4, 0x4000, 0xfe60_0000)
        .bar(2, 0, 0x100, 0xfe70_0100)
        .bar(3, 1, 0x20, 0xd040)
        .bar(4, 0xc, 0x2_0000_0000, 0x8_0000_0000)
        .capability(0x0d, &[0, 0, 1, 2, 3, 4])
        // Version 3, PME from all states, D1 and D2; no soft reset, in D0, PME enabled.
        .capability(0x01, &[0x0b, 0xfe, 0x08, 0xa1, 0x40, 0x55])
        // 8 vectors, 64 bits, masking.
        .capability(0x05, &{
            let mut body = [0; 22];
            body[..2].copy_from_slice(&0x0186u16.to_le_bytes());
            body[2..6].copy_from_slice(&0xfee0_0000u32.to_le_bytes());
            body[18..22].copy_from_slice(&0xffff_ffffu32.to_le_bytes());
            body
        })
        .capability(0x11, &[64, 0, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0])
        .capability(0x03, &[0x34, 0x12, 0x78, 0x56, 0x34, 0x12])
        .capability(0x09, &[10, 1, 2, 3, 4, 5, 6, 7])
        .express(0, 1 << 28 | 2)
        .capability(0x13, &[6, 3, 0, 0])
        .extended(0x19, &[1, 2, 3])
        .extended(0x01, &[u32::MAX; 15])
        .extended(0x03, &[0x1111_2222, 0x3333_4444])
        .extended(0x1b, &[7])
        .extended(0x04, &[5, 6, 1])
        .extended(0x10, &[9; 15]);
    let mut model = model;
    // Four functions of the status register, which only the hardware knows; INTB; MPS 256, MRRS 512.
    model.put16(header::STATUS, 0xa018);
    model.bytes[usize::from(header::INTERRUPT_PIN)] = 2;
    model.put16(header::COMMAND, 0x0002);
    model.put16(at::EXPRESS + 8, 0x2030);
    let bytes = model.bytes.clone();
    let machine = Machine::new([(bdf(AT), model)]);
    let function = found(&machine)
        .functions
        .into_iter()
        .find(|function| function.bdf == bdf(AT));
    (Fake::new(bytes), function.unwrap())
}

/// Its BARs where a guest finds them.
pub(super) fn placed(function: &Function) -> Vec<VirtualBar> {
    let mut bars: Vec<_> = function
        .bars
        .iter()
        .zip([0xc000_0000, 0xc000_4000, 0x6000, 0x40_0000_0000])
        .map(|(host, address)| VirtualBar { host: *host, address })
        .collect();
    bars.push(VirtualBar {
        host: Bar {
            index: ROM,
            kind: BarKind::Memory {
                wide: false,
                prefetchable: false,
            },
            address: 0,
            size: 0x1_0000,
        },
        address: 0xc010_0000,
    });
    bars
}

/// The space with everything offered.
pub(super) fn space(fake: &Fake, function: &Function, policy: BarPolicy) -> VirtualConfig {
    VirtualConfig::new(
        fake,
        function,
        &Options {
            offer: Offer::LINE | Offer::POWER | Offer::RESET,
            bars: &placed(function),
            policy,
            serial: Some(0x0200_0000_0000_0008),
            msi_vectors: 4,
            ..Options::default()
        },
    )
}

pub(super) fn everything() -> (Fake, VirtualConfig) {
    let (fake, function) = rich();
    let space = space(&fake, &function, BarPolicy::Fixed);
    (fake, space)
}

impl VirtualConfig {
    pub(super) fn get(&self, fake: &Fake, offset: u16) -> u32 {
        self.read(fake, offset, Width::Dword).unwrap()
    }

    pub(super) fn set16(&mut self, fake: &Fake, offset: u16, value: u16) -> Vec<Effect> {
        self.write(fake, offset, Width::Word, value.into())
            .unwrap()
            .into_iter()
            .collect()
    }

    pub(super) fn set32(&mut self, fake: &Fake, offset: u16, value: u32) -> Vec<Effect> {
        self.write(fake, offset, Width::Dword, value)
            .unwrap()
            .into_iter()
            .collect()
    }

    /// Ids of the list that the guest walks.
    pub(super) fn walk(&self, fake: &Fake) -> Vec<u8> {
        let mut at = self.get(fake, header::CAPABILITIES) as u16 & 0xff;
        let mut ids = Vec::new();
        while at != 0 {
            assert!(
                ids.len() < 48 && at >= 0x40 && at.is_multiple_of(4),
                "{ids:x?} {at:#x}"
            );
            let head = self.get(fake, at);
            ids.push(head as u8);
            at = (head >> 8) as u16 & 0xff;
        }
        ids
    }

    /// The same of the extended list.
    pub(super) fn walk_extended(&self, fake: &Fake) -> Vec<u16> {
        let (mut at, mut ids) = (0x100u16, Vec::new());
        while at != 0 {
            assert!(
                ids.len() < 960 && at >= 0x100 && at.is_multiple_of(4),
                "{ids:x?} {at:#x}"
            );
            let head = self.get(fake, at);
            ids.push(head as u16);
            at = (head >> 20) as u16;
        }
        ids
    }
}
