//! A PCI machine for tests: configuration spaces with the semantics of BARs, command bits, resets and bus routing.

#![expect(
    clippy::unwrap_used,
    reason = "a test that asks for what is not there should panic"
)]

use super::Waits;
use crate::clock::Clock;
use crate::pci::Bdf;
use crate::pci::config::{ConfigAccess, MmioAccess, Scan, SegmentWindow, Width, scan};
use crate::pci::reset::ResetHooks;
use crate::pci::spec::{Command, af, capability, express, extended, header, pm, sriov};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// All buses of segment 0.
pub const WINDOW: SegmentWindow = SegmentWindow {
    segment: 0,
    bus_start: 0,
    bus_end: 255,
};

/// An address, which is right.
#[must_use]
pub fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

/// What discovery finds.
#[must_use]
pub fn found(machine: &Machine) -> Scan {
    scan(machine, &[WINDOW])
}

/// What a function does that it must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vice {
    /// Nothing.
    #[default]
    None,
    /// Ignores every write that would start a reset of it, by itself or by the bus.
    IgnoresReset,
    /// Comes back from a reset with this device id.
    ReturnsAs(u16),
    /// Masters the bus again after each write of its command register.
    KeepsMastering,
    /// Has transactions pending for ever.
    Pending,
    /// Stays in D3hot.
    StaysAsleep,
    /// Does not go to D3hot.
    StaysAwake,
    /// Forgets its first BAR whenever it is written.
    LosesBar,
}

/// What a function does beyond remembering.
#[derive(Clone, Default)]
pub struct Model {
    /// Its configuration space.
    pub bytes: Vec<u8>,
    /// Writable bits of each 32-bit register; nothing is writable by default.
    writable: BTreeMap<u16, u32>,
    /// Reads as absent until then.
    pub absent_until: u64,
    /// How long a reset keeps it silent, in nanoseconds; for ever if `u64::MAX`.
    pub reset_takes: u64,
    /// How often it was reset.
    pub resets: u32,
    /// What it does that it must not.
    pub vice: Vice,
    defaults: Vec<u8>,
    next_capability: u16,
    last_extended: u16,
}

impl Model {
    /// A function with these ids, class (24 bits) and header type, and nothing else.
    #[must_use]
    pub fn new(vendor: u16, device: u16, class: u32, layout: u8) -> Self {
        let mut model = Self {
            bytes: vec![0; 4096],
            next_capability: 0x40,
            ..Self::default()
        };
        model.put16(header::VENDOR_ID, vendor);
        model.put16(header::DEVICE_ID, device);
        model.put32(header::CLASS_REVISION, class << 8 | 1);
        model.bytes[usize::from(header::HEADER_TYPE)] = layout;
        model.writable.insert(header::COMMAND, 0x0407);
        model.writable.insert(
            header::INTERRUPT_LINE,
            if layout & 0x7f == 1 { 0x00ff_00ff } else { 0xff },
        );
        if layout & 0x7f == 1 {
            model.writable.insert(header::PRIMARY_BUS, 0x00ff_ffff);
        }
        model
    }

    /// An NVMe controller without BARs or capabilities.
    #[must_use]
    pub fn endpoint() -> Self {
        Self::new(0x1b36, 0x0010, 0x01_0802, 0)
    }

    /// A bridge to these buses; with a PCI Express capability of `port_type`, if given.
    #[must_use]
    pub fn bridge(port_type: Option<u16>, secondary: u8, subordinate: u8) -> Self {
        let mut model = Self::new(0x1b36, 0x000c, 0x06_0400, 1);
        model.bytes[usize::from(header::SECONDARY_BUS)] = secondary;
        model.bytes[usize::from(header::SUBORDINATE_BUS)] = subordinate;
        port_type.map_or(model.clone(), |port_type| model.express(port_type, 0))
    }

    /// Other functions are in its slot.
    #[must_use]
    pub fn multi_function(mut self) -> Self {
        self.bytes[usize::from(header::HEADER_TYPE)] |= 0x80;
        self
    }

    fn get32(&self, offset: u16) -> u32 {
        u32::from_le_bytes(self.bytes[usize::from(offset)..][..4].try_into().unwrap())
    }

    /// Puts a value where nobody may write.
    pub fn put16(&mut self, offset: u16, value: u16) {
        self.bytes[usize::from(offset)..][..2].copy_from_slice(&value.to_le_bytes());
    }

    /// Puts a value where nobody may write.
    pub fn put32(&mut self, offset: u16, value: u32) {
        self.bytes[usize::from(offset)..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// A BAR of `size` bytes with the low bits `flags`; a 64-bit one takes two registers.
    pub fn bar(mut self, index: u16, flags: u32, size: u64, address: u64) -> Self {
        let offset = header::BAR0 + 4 * index;
        let mask = !(size - 1);
        let low = if flags & 1 != 0 { 0x3 } else { 0xf };
        self.writable.insert(offset, mask as u32 & !low);
        self.put32(offset, address as u32 | flags);
        if flags & 0x7 == 4 {
            self.writable.insert(offset + 4, (mask >> 32) as u32);
            self.put32(offset + 4, (address >> 32) as u32);
        }
        self
    }

    /// Appends a capability; `body` follows id and next.
    pub fn capability(mut self, id: u8, body: &[u8]) -> Self {
        let at = self.next_capability;
        self.put16(header::STATUS, 1 << 4);
        let mut link = usize::from(header::CAPABILITIES);
        while self.bytes[link] != 0 {
            link = usize::from(self.bytes[link]) + 1;
        }
        self.bytes[link] = at as u8;
        self.bytes[usize::from(at)] = id;
        self.bytes[usize::from(at) + 2..][..body.len()].copy_from_slice(body);
        self.next_capability = (at + 2 + body.len() as u16).next_multiple_of(4);
        self
    }

    /// Appends a PCI Express capability.
    #[must_use]
    pub fn express(mut self, port_type: u16, device_capabilities: u32) -> Self {
        let at = self.next_capability;
        let mut body = [0; 0x3a];
        body[..2].copy_from_slice(&(port_type << 4 | 2).to_le_bytes());
        body[2..6].copy_from_slice(&device_capabilities.to_le_bytes());
        self.writable.insert(at + express::DEVICE_CONTROL, 0x7fff);
        self.writable.insert(at + express::LINK_CONTROL, 0x0fff);
        self.capability(0x10, &body)
    }

    /// Appends an extended capability; `body` follows the header.
    #[must_use]
    pub fn extended(mut self, id: u16, body: &[u32]) -> Self {
        let at = match self.last_extended {
            0 => 0x100,
            last => {
                let next = last + 0x40;
                let head = self.get32(last) | u32::from(next) << 20;
                self.put32(last, head);
                next
            }
        };
        self.put32(at, u32::from(id) | 1 << 16);
        for (word, offset) in body.iter().zip((at + 4..).step_by(4)) {
            self.put32(offset, *word);
        }
        self.last_extended = at;
        self
    }

    /// ACS that can do `able`, all off.
    pub fn acs(self, able: u16) -> Self {
        let mut model = self.extended(0x000d, &[able.into()]);
        let at = model.last_extended;
        model.writable.insert(at + 4, u32::from(able) << 16);
        model
    }

    /// Makes bits of a 32-bit register writable.
    #[must_use]
    pub fn writable(mut self, offset: u16, mask: u32) -> Self {
        self.writable.insert(offset, mask);
        self
    }

    fn reset(&mut self, now: u64) {
        if self.vice == Vice::IgnoresReset {
            return;
        }
        self.resets += 1;
        self.absent_until = now.saturating_add(self.reset_takes);
        self.bytes.clone_from(&self.defaults);
        if let Vice::ReturnsAs(device) = self.vice {
            self.put16(header::DEVICE_ID, device);
        }
    }

    /// Where the capability `id` is; 0 if it has none.
    #[must_use]
    pub fn find(&self, id: u8) -> u16 {
        let mut at = self.bytes[usize::from(header::CAPABILITIES)] & !3;
        // A list that a test made loop ends.
        for _ in 0..48 {
            if at < 0x40 || self.bytes[usize::from(at)] == id {
                break;
            }
            at = self.bytes[usize::from(at) + 1] & !3;
        }
        if at < 0x40 || self.bytes[usize::from(at)] != id {
            0
        } else {
            at.into()
        }
    }

    /// Appends a power management capability with D1 and D2; the function loses its state on the way back from D3hot
    /// unless `keeps_state`.
    #[must_use]
    pub fn power_management(self, keeps_state: bool) -> Self {
        let at = self.next_capability;
        self.capability(
            capability::PM,
            &[0x03, 0x06, if keeps_state { 8 } else { 0 }, 0, 0, 0],
        )
        .writable(at + pm::CONTROL, 0x3)
    }

    /// Appends an advanced features capability with a reset.
    #[must_use]
    pub fn advanced_features(self) -> Self {
        self.capability(capability::AF, &[6, 3, 0, 0])
    }

    /// Appends an SR-IOV capability whose virtual functions are on: how many, offset and stride of their routing ids,
    /// device id, and a 64-bit BAR of `size` for each from `address` on.
    #[must_use]
    pub fn sriov(mut self, count: u16, steps: (u16, u16), device: u16, (size, address): (u64, u64)) -> Self {
        self = self.extended(extended::SRIOV, &[]);
        let at = self.last_extended;
        self.put16(at + sriov::CONTROL, sriov::VF_ENABLE | sriov::VF_MEMORY);
        self.put16(at + sriov::TOTAL_VFS, count);
        self.put16(at + sriov::NUM_VFS, count);
        self.put16(at + sriov::FIRST_OFFSET, steps.0);
        self.put16(at + sriov::STRIDE, steps.1);
        self.put16(at + sriov::DEVICE_ID, device);
        self.put32(at + sriov::BAR0, address as u32 | 4);
        self.put32(at + sriov::BAR0 + 4, (address >> 32) as u32);
        let mask = !(size - 1);
        self.writable.insert(at + sriov::CONTROL, 0x8);
        self.writable.insert(at + sriov::BAR0, mask as u32 & !0xf);
        self.writable.insert(at + sriov::BAR0 + 4, (mask >> 32) as u32);
        self
    }

    /// A virtual function: its ids read as ones, and it has a reset of its own.
    #[must_use]
    pub fn virtual_function() -> Self {
        Self::new(u16::MAX, u16::MAX, 0x02_0000, 0).express(0, express::DEVICE_CAPABILITIES_FLR)
    }
}

/// The machine, with its own time.
pub struct Machine {
    /// The functions.
    pub functions: RefCell<BTreeMap<Bdf, Model>>,
    /// Nanoseconds since the start.
    pub time: Cell<u64>,
    /// Reads of configuration space so far.
    pub accesses: Cell<u64>,
    /// Writes to configuration space so far.
    pub writes: Cell<u64>,
    /// A function that vanishes for good at this many reads and writes.
    pub dies: Cell<Option<(Bdf, u64)>>,
    /// While a function is being sized it must not decode: set if it did.
    pub sized_while_decoding: Cell<bool>,
    /// What a virtio device offers.
    pub feature_bits: Cell<u64>,
    /// A bus reset takes the link of the port down for good.
    pub link_drops: Cell<bool>,
    feature_select: Cell<u32>,
    waits: Waits,
}

impl Machine {
    /// A machine of these functions.
    #[must_use]
    pub fn new(functions: impl IntoIterator<Item = (Bdf, Model)>) -> Self {
        let functions = functions.into_iter().map(|(bdf, mut model)| {
            // What a reset leaves: identity and capabilities, but no addresses, no bus numbers, no command bits.
            model.defaults = model.bytes.clone();
            for (offset, mask) in &model.writable {
                let value = model.get32(*offset) & !mask;
                model.defaults[usize::from(*offset)..][..4].copy_from_slice(&value.to_le_bytes());
            }
            (bdf, model)
        });
        Self {
            functions: RefCell::new(functions.collect()),
            time: Cell::new(0),
            accesses: Cell::new(0),
            writes: Cell::new(0),
            dies: Cell::new(None),
            sized_while_decoding: Cell::new(false),
            feature_bits: Cell::new(0),
            link_drops: Cell::new(false),
            feature_select: Cell::new(0),
            waits: Waits::default(),
        }
    }

    /// All configuration spaces as they are.
    #[must_use]
    pub fn bytes(&self) -> BTreeMap<Bdf, Vec<u8>> {
        self.functions
            .borrow()
            .iter()
            .map(|(bdf, model)| (*bdf, model.bytes.clone()))
            .collect()
    }
}

impl Machine {
    /// Lets a function die whose time has come.
    fn count(&self, counter: &Cell<u64>) {
        counter.set(counter.get() + 1);
        if let Some((bdf, at)) = self.dies.get()
            && self.accesses.get() + self.writes.get() >= at
        {
            if let Some(model) = self.functions.borrow_mut().get_mut(&bdf) {
                model.absent_until = u64::MAX;
                model.reset_takes = u64::MAX;
            }
            self.dies.set(None);
        }
    }

    /// The function at `at`, which must be there.
    pub fn change(&self, at: Bdf, change: impl FnOnce(&mut Model)) {
        change(self.functions.borrow_mut().get_mut(&at).unwrap());
    }

    /// How often the function at `at` was reset.
    #[must_use]
    pub fn resets(&self, at: Bdf) -> u32 {
        self.functions.borrow()[&at].resets
    }
}

/// Nothing is known of any device.
impl ResetHooks for Machine {}

impl ConfigAccess for Machine {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        self.count(&self.accesses);
        assert!(offset.is_multiple_of(width.bytes()) && offset + width.bytes() <= 0x1000);
        let functions = self.functions.borrow();
        let model = functions
            .get(&function)
            .filter(|model| model.absent_until <= self.time.get());
        let mut value = model.map_or(u32::MAX, |model| model.get32(offset & !3));
        if let Some(model) = model
            && model.vice == Vice::Pending
        {
            let (express, features) = (model.find(capability::EXPRESS), model.find(capability::AF));
            if express != 0 && offset & !3 == express + express::DEVICE_CONTROL {
                value |= u32::from(express::DEVICE_STATUS_PENDING) << 16;
            }
            if features != 0 && offset & !3 == features + af::CONTROL {
                value |= u32::from(af::STATUS_PENDING) << 8;
            }
        }
        let value = value >> (8 * (offset & 3));
        value & u32::MAX >> (32 - 8 * width.bytes())
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        assert!(offset.is_multiple_of(width.bytes()) && offset + width.bytes() <= 0x1000);
        self.count(&self.writes);
        let mut functions = self.functions.borrow_mut();
        let now = self.time.get();
        let Some(model) = functions
            .get_mut(&function)
            .filter(|model| model.absent_until <= now)
        else {
            return;
        };
        let shift = 8 * (offset & 3);
        let register = offset & !3;
        let touched = (u32::MAX >> (32 - 8 * width.bytes())) << shift;
        let mask = model.writable.get(&register).copied().unwrap_or(0) & touched;
        let old = model.get32(register);
        let bar = (header::BAR0..header::BAR0 + 8).contains(&register);
        if bar && value == u32::MAX {
            let command = Command::from_bits_retain(model.get32(header::COMMAND) as u16);
            if command.intersects(Command::IO | Command::MEMORY) {
                self.sized_while_decoding.set(true);
            }
        }
        let power = model.find(capability::PM);
        let at_power = power != 0 && offset == power + pm::CONTROL && mask & 3 == 3;
        let (was, wanted) = (old & 3, value & 3);
        let stays = at_power
            && match model.vice {
                Vice::StaysAsleep => was == 3,
                Vice::StaysAwake => wanted == 3,
                _ => false,
            };
        if !stays {
            model.put32(register, old & !mask | (value << shift) & mask);
        }
        if model.vice == Vice::KeepsMastering && register == header::COMMAND {
            let command = model.get32(header::COMMAND) | u32::from(Command::BUS_MASTER.bits());
            model.put32(header::COMMAND, command);
        }
        if model.vice == Vice::LosesBar && register == header::BAR0 {
            model.put32(header::BAR0, model.get32(header::BAR0) & 0xf);
        }
        let express_at = model.find(capability::EXPRESS);
        let has_express = express_at != 0;
        let able = has_express
            && model.get32(express_at + express::DEVICE_CAPABILITIES) & express::DEVICE_CAPABILITIES_FLR != 0;
        let flr = able && offset == express_at + express::DEVICE_CONTROL && value & 0x8000 != 0;
        let features = model.find(capability::AF);
        let af_flr = features != 0 && offset == features + af::CONTROL && value & 1 != 0;
        let loses = at_power && was == 3 && wanted == 0 && old & u32::from(pm::NO_SOFT_RESET) == 0 && !stays;
        if flr || af_flr || loses {
            model.reset(now);
        }
        let secondary = model.bytes[usize::from(header::SECONDARY_BUS)];
        let bus_reset = model.bytes[usize::from(header::HEADER_TYPE)] & 0x7f == 1
            && offset == header::BRIDGE_CONTROL
            && (old >> 16) & 0x40 != 0
            && value & 0x40 == 0;
        if bus_reset && has_express && self.link_drops.get() {
            model.put16(express_at + express::LINK_STATUS, 0);
        }
        if bus_reset {
            for (bdf, below) in functions.iter_mut() {
                if bdf.bus() == secondary {
                    below.reset(now);
                }
            }
        }
    }
}

impl Clock for Machine {
    fn now(&self) -> u64 {
        self.time.get()
    }

    fn wait(&self, nanoseconds: u64) {
        self.time.set(self.time.get() + self.waits.last(nanoseconds));
    }
}

impl MmioAccess for &Machine {
    fn read32(&mut self, address: u64) -> u32 {
        let functions = self.functions.borrow();
        let answers = functions.values().any(|model| {
            model.get32(header::COMMAND) & 2 != 0 && u64::from(model.get32(0x20) & !0xf) == address & !0xfff
        });
        if !answers || address & 0xfff != 4 {
            return u32::MAX;
        }
        (self.feature_bits.get() >> (32 * self.feature_select.get())) as u32
    }

    fn write32(&mut self, address: u64, value: u32) {
        if address & 0xfff == 0 {
            self.feature_select.set(value);
        }
    }
}
