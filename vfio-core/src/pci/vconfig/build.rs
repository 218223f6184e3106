//! A function's virtual configuration space, made from the tables and from what discovery decoded.
//!
//! The device may answer differently now than it did then. Where discovery decoded a capability, its word counts.

use super::bars::{self, BarPolicy, VirtualBar};
use super::row::{Bits, Layout, Length, Row, Trap, row};
use super::space::{Register, VirtualConfig};
use super::{backdoor, length, table};
use crate::pci::config::{ConfigAccess, Function, Msi, Registers, Width};
use crate::pci::quirk::{Quirk, quirks};
use crate::pci::spec::{
    Command, MULTI_FUNCTION, STATUS_CAPABILITIES, af, capability, express, extended, header, msi, msix, pm,
};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use bitflags::bitflags;

const CONVENTIONAL: u16 = 0x100;
const EXPRESS: u16 = 0x1000;

bitflags! {
    /// What a guest is offered. Each needs a caller that carries out the effects.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Offer: u8 {
        /// INTx: the interrupt pin is shown.
        const LINE = 1;
        /// Power states other than D0.
        const POWER = 1 << 1;
        /// Function level reset, where the function has it.
        const RESET = 1 << 2;
        /// Writes to vendor-specific capabilities, as Linux allows them. They reach whatever the vendor thought of: virtio's, for one,
        /// is a window onto the BARs, the MSI-X table included.
        const VENDOR_WRITES = 1 << 3;
    }
}

/// How a function is shown.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// What the guest is offered.
    pub offer: Offer,
    /// Its slot in the guest has more functions.
    pub multi_function: bool,
    /// It is a virtual function: identity and BARs are what discovery and `bars` say, and decoding is the physical function's.
    pub virtual_function: bool,
    /// The BARs and the ROM that the guest sees; the others do not exist for it. Seven at most.
    pub bars: &'a [VirtualBar],
    /// Whether they move.
    pub policy: BarPolicy,
    /// Capabilities to hide although there is a row, by id.
    pub hide: &'a [u8],
    /// The same for extended ones.
    pub hide_extended: &'a [u16],
    /// The serial number that the guest sees in place of the device's; `None` hides that there is one.
    pub serial: Option<u64>,
    /// MSI vectors that the guest can have at most, rounded down to a power of two; 0 hides MSI.
    pub msi_vectors: u8,
}

impl VirtualConfig {
    /// Builds the space of `function`, an endpoint. Its hardware is read through `config`, and not changed.
    #[must_use]
    pub fn new<C: ConfigAccess + ?Sized>(config: &C, function: &Function, options: &Options<'_>) -> Self {
        let hardware = Registers::new(config, function.bdf);
        let mut saved = [0; 7];
        for (saved, register) in saved.iter_mut().zip(backdoor::registers()) {
            *saved = hardware.u32(register);
        }
        let space = Self {
            bdf: function.bdf,
            size: if function.express.is_some() {
                EXPRESS
            } else {
                CONVENTIONAL
            },
            registers: Vec::new(),
            bars: ArrayVec::new(),
            policy: options.policy.clone(),
            saved,
            virtual_function: options.virtual_function,
            resets: options.offer.contains(Offer::RESET),
            line_masked: true,
            restored: 0,
            power: None,
            vpd: None,
            msi: None,
            msi_limit: 0,
            msix: None,
        };
        let mut builder = Builder {
            config,
            function,
            options,
            space,
        };
        builder.header();
        builder.bars();
        builder.capabilities();
        builder.extended();
        let mut space = builder.space;
        for register in &mut space.registers {
            register.initial = register.shadow;
        }
        space
    }
}

struct Builder<'a, C: ?Sized> {
    config: &'a C,
    function: &'a Function,
    options: &'a Options<'a>,
    space: VirtualConfig,
}

impl<C: ConfigAccess + ?Sized> Builder<'_, C> {
    fn header(&mut self) {
        let function = self.function;
        // A virtual function's own registers read as all ones.
        self.fix(
            header::VENDOR_ID,
            u32::MAX,
            u32::from(function.device) << 16 | u32::from(function.vendor),
        );
        self.rows(0, CONVENTIONAL, table::HEADER);
        if self.options.virtual_function {
            let memory = u32::from(Command::MEMORY.bits());
            let decode = memory | u32::from(Command::IO.bits());
            self.space.set_shadow(header::COMMAND, decode, memory);
        }
        let kind = if self.options.multi_function {
            MULTI_FUNCTION
        } else {
            0
        };
        self.fix(header::HEADER_TYPE, 0xff, kind.into());
        let no_line = quirks(function.vendor, function.device, function.class)
            .flags
            .intersects(Quirk::BROKEN_INTX | Quirk::NO_PIN);
        if self.options.offer.contains(Offer::LINE) && !self.options.virtual_function && !no_line {
            self.rows(0, CONVENTIONAL, table::INTX_STATUS);
            self.fix(header::INTERRUPT_PIN, 0xff, function.interrupt_pin.into());
        }
        self.trap(header::COMMAND, Trap::Command);
    }

    fn bars(&mut self) {
        for bar in self.options.bars.iter().filter(|bar| bar.host.size != 0) {
            let taken = self.space.bars.iter().any(|other| {
                let last = |bar: &VirtualBar| bar.host.index + u8::from(bars::is_wide(&bar.host));
                other.host.index <= last(bar) && bar.host.index <= last(other)
            });
            if bar.host.index > bars::ROM || taken || self.space.bars.try_push(*bar).is_err() {
                continue;
            }
            let at = bars::register(bar.host.index);
            let (writable, fixed) = bars::low_bits(&bar.host);
            self.fix(at, u32::MAX, bar.address as u32 & writable | fixed);
            self.allow(at, writable);
            self.trap(at, Trap::Bar(bar.host.index));
            if bars::is_wide(&bar.host) {
                let writable = bars::high_bits(&bar.host);
                self.fix(at + 4, u32::MAX, (bar.address >> 32) as u32 & writable);
                self.allow(at + 4, writable);
                self.trap(at + 4, Trap::Bar(bar.host.index));
            }
        }
    }

    fn capabilities(&mut self) {
        let function = self.function;
        let valid = |at: u16| (header::END..CONVENTIONAL).contains(&at) && at.is_multiple_of(4);
        let found: Vec<(u16, u16)> = function
            .capabilities
            .iter()
            .filter(|found| valid(found.offset))
            .map(|found| (found.id.into(), found.offset))
            .collect();
        let mut link = None;
        for (index, &(id, at)) in found.iter().enumerate() {
            let hidden = self.options.hide.iter().any(|hide| u16::from(*hide) == id);
            // Which of two the device means would be a guess: the first, as discovery has it.
            let before = &found[..index];
            let again = before.iter().any(|(_, place)| *place == at) || self.is_second(id, at, before);
            let end = room_end(&found, at, CONVENTIONAL);
            let shown = !hidden && !again && self.capability(table::STANDARD, id, at, end - at);
            if shown {
                self.fix(at, 0xffff, id.into());
                match link {
                    None => self.fix(header::CAPABILITIES, 0xff, at.into()),
                    Some(before) => self.fix(before, 0xff00, u32::from(at) << 8),
                }
                link = Some(at);
            }
        }
        if link.is_some() {
            self.fix(
                header::STATUS,
                STATUS_CAPABILITIES.into(),
                STATUS_CAPABILITIES.into(),
            );
        }
    }

    /// Whether a capability that there can be only one of is another than the one that discovery decoded.
    fn is_second(&self, id: u16, at: u16, before: &[(u16, u16)]) -> bool {
        let function = self.function;
        let decoded = match u8::try_from(id) {
            Ok(capability::MSI) => function.msi.map(|found| found.offset),
            Ok(capability::MSIX) => function.msix.map(|found| found.offset),
            Ok(capability::EXPRESS) => function.express.map(|found| found.offset),
            // Vendors and HyperTransport have as many as they like.
            Ok(capability::VENDOR | capability::HYPERTRANSPORT) => return false,
            _ => return before.iter().any(|(other, _)| *other == id),
        };
        decoded != Some(at)
    }

    fn extended(&mut self) {
        if self.space.size < EXPRESS {
            return;
        }
        let valid = |at: u16| (extended::FIRST..EXPRESS).contains(&at) && at.is_multiple_of(4);
        let list: Vec<_> = self
            .function
            .extended
            .iter()
            .filter(|found| valid(found.offset))
            .collect();
        let found: Vec<(u16, u16)> = list.iter().map(|found| (found.id, found.offset)).collect();
        let mut link = None;
        for (index, one) in list.into_iter().enumerate() {
            let (id, at) = (one.id, one.offset);
            let repeats = matches!(id, extended::VENDOR | extended::DESIGNATED_VENDOR);
            let mut before = found[..index].iter();
            let again = before.any(|(other, place)| *place == at || *other == id && !repeats);
            let serial = id == extended::SERIAL && self.options.serial.is_none();
            let hidden = self.options.hide_extended.contains(&id) || serial;
            let end = room_end(&found, at, EXPRESS);
            let shown = !hidden && !again && self.capability(table::EXTENDED, id, at, end - at);
            if !shown {
                continue;
            }
            self.fix(at, 0xf_ffff, u32::from(one.version & 0xf) << 16 | u32::from(id));
            match link {
                // The list starts at 0x100, come what may: a header without a capability leads on.
                None if at != extended::FIRST => self.fix(extended::FIRST, u32::MAX, u32::from(at) << 20),
                None => {}
                Some(before) => self.fix(before, 0xfff0_0000, u32::from(at) << 20),
            }
            link = Some(at);
        }
    }

    /// Shows one capability with `room` bytes up to the next, header excepted. Whether it is shown.
    fn capability(&mut self, table: &'static [Layout], id: u16, at: u16, room: u16) -> bool {
        let Some(layout) = Layout::of(table, id) else {
            return false;
        };
        if layout.length == Length::Msi && self.options.msi_vectors == 0 {
            return false;
        }
        let Some(bytes) = length::shown(layout.length, self.config, self.function, at, room) else {
            return false;
        };
        let standard = at < CONVENTIONAL;
        // What no row of the capability names is the hardware's; ids and pointers are not.
        let body = at + if standard { 2 } else { 4 };
        let mut offset = body;
        while offset < at + bytes {
            let end = (offset / 4 * 4 + 4).min(at + bytes);
            let mask = u32::MAX >> (32 - 8 * u32::from(end - offset));
            self.row(0, &row(offset, mask, Bits::Hardware));
            offset = end;
        }
        self.rows(at, bytes, layout.rows);
        for (offset, trap) in layout.traps.iter().filter(|(offset, _)| *offset < bytes) {
            self.trap(at + offset, *trap);
        }
        if standard {
            self.special(id as u8, at);
        } else if id == extended::SERIAL {
            let serial = self.options.serial.unwrap_or(0);
            self.fix(at + 4, u32::MAX, serial as u32);
            self.fix(at + 8, u32::MAX, (serial >> 32) as u32);
        }
        let vendor = matches!(layout.length, Length::Vendor | Length::VendorExtended);
        if vendor && self.options.offer.contains(Offer::VENDOR_WRITES) {
            // Behind the length byte, or behind the vendor's own header.
            let start = at + if standard { 4 } else { 8 };
            for offset in (start..at + bytes).step_by(4) {
                let bytes = (at + bytes - offset).min(4);
                self.row(
                    0,
                    &row(
                        offset,
                        u32::MAX >> (32 - 8 * u32::from(bytes)),
                        Bits::HardwareWritable,
                    ),
                );
            }
        }
        true
    }

    /// What depends on the function and on what its guest is offered.
    fn special(&mut self, id: u8, at: u16) {
        let offer = self.options.offer;
        let now = |offset: u16| Registers::new(self.config, self.function.bdf).u32(at + offset);
        match id {
            capability::PM => {
                let sleep = u32::from(pm::CAPABLE_D1 | pm::CAPABLE_D2) << 16;
                let able = if offer.contains(Offer::POWER) {
                    now(0) & sleep
                } else {
                    0
                };
                self.fix(at, sleep, able);
                self.space.power = offer.contains(Offer::POWER).then_some(at);
            }
            capability::VPD => self.space.vpd = Some(at),
            capability::EXPRESS => {
                let bit = express::DEVICE_CAPABILITIES_FLR;
                if offer.contains(Offer::RESET) {
                    let able = now(express::DEVICE_CAPABILITIES) & bit;
                    self.fix(at + express::DEVICE_CAPABILITIES, bit, able);
                }
            }
            capability::AF => {
                let bits = af::CAPABILITIES_FLR | af::CAPABILITIES_TP;
                let able = self
                    .function
                    .af
                    .is_some_and(|found| found.flr && found.offset == at);
                if offer.contains(Offer::RESET) && able {
                    self.fix(at + af::CAPABILITIES, bits.into(), bits.into());
                }
            }
            capability::MSIX => {
                if let Some(found) = self.function.msix {
                    let place =
                        |place: crate::pci::config::TableLocation| place.offset | u32::from(place.bar);
                    self.fix(
                        at + 2,
                        msix::SIZE_MASK.into(),
                        u32::from(found.vectors.saturating_sub(1)),
                    );
                    self.fix(at + msix::TABLE, u32::MAX, place(found.table));
                    self.fix(at + msix::PBA, u32::MAX, place(found.pending));
                    self.space.msix = Some(at);
                }
            }
            capability::MSI => {
                if let Some(found) = self.function.msi {
                    self.message(&found);
                }
            }
            _ => {}
        }
    }

    /// MSI: everything is kept for the guest but the pending bits.
    fn message(&mut self, found: &Msi) {
        let at = found.offset;
        let vectors = found.vectors.min(self.options.msi_vectors).clamp(1, 32);
        let limit = vectors.ilog2() as u16;
        let able = limit << msi::CAPABLE_SHIFT
            | if found.address_64 { msi::ADDRESS_64 } else { 0 }
            | if found.maskable { msi::MASKING } else { 0 };
        self.fix(at + msi::CONTROL, 0xffff, able.into());
        let control = msi::ENABLE | msi::COUNT_MASK << msi::ENABLED_SHIFT;
        self.row(0, &row(at + msi::CONTROL, control.into(), Bits::Virtual));
        self.row(0, &row(at + msi::ADDRESS, !3, Bits::Virtual));
        self.row(0, &row(at + msi::ADDRESS, 3, Bits::Zero));
        let (data, mask) = length::msi_data(found);
        if found.address_64 {
            self.row(0, &row(at + msi::ADDRESS_UPPER, u32::MAX, Bits::Virtual));
        }
        self.row(0, &row(at + data, 0xffff, Bits::Virtual));
        let mut last = data;
        if let Some(mask) = mask {
            self.row(0, &row(at + data + 2, 0xffff, Bits::Zero));
            let each = u32::MAX >> (32 - (1u32 << limit));
            self.row(0, &row(at + mask, u32::MAX, Bits::Zero));
            self.row(0, &row(at + mask, each, Bits::Virtual));
            // A bit for each vector; those that the guest cannot have never are pending.
            self.row(0, &row(at + mask + 4, !each, Bits::Zero));
            last = mask;
        }
        for offset in (0..=last).step_by(4) {
            self.trap(at + offset, Trap::Msi);
        }
        self.space.msi = Some(*found);
        self.space.msi_limit = limit;
    }

    fn rows(&mut self, base: u16, limit: u16, rows: &[Row]) {
        for row in rows {
            let bytes = (u32::BITS - row.mask.leading_zeros()).div_ceil(8) as u16;
            if row.offset + bytes <= limit {
                self.row(base, row);
            }
        }
    }

    fn row(&mut self, base: u16, row: &Row) {
        let offset = base + row.offset;
        let mask = row.mask << (8 * (offset % 4));
        let now = match row.bits {
            Bits::Snapshot | Bits::VirtualFrom => {
                self.config.read(self.function.bdf, offset & !3, Width::Dword)
            }
            _ => 0,
        };
        let register = self.register(offset & !3);
        register.shadow &= !mask;
        register.writable &= !mask;
        register.clear &= !mask;
        register.virtual_bits |= mask;
        match row.bits {
            Bits::Hardware => register.virtual_bits &= !mask,
            Bits::HardwareWritable => {
                register.virtual_bits &= !mask;
                register.writable |= mask;
            }
            Bits::HardwareClear => {
                register.virtual_bits &= !mask;
                register.writable |= mask;
                register.clear |= mask;
            }
            Bits::Snapshot => register.shadow |= now & mask,
            Bits::Virtual => register.writable |= mask,
            Bits::VirtualFrom => {
                register.shadow |= now & mask;
                register.writable |= mask;
            }
            Bits::Zero => {}
        }
    }

    /// Gives bits a value that the guest cannot change.
    fn fix(&mut self, offset: u16, mask: u32, value: u32) {
        self.row(0, &row(offset, mask, Bits::Zero));
        let shift = 8 * (offset % 4);
        self.register(offset & !3).shadow |= (value & mask) << shift;
    }

    /// Lets the guest change bits of the four bytes at `offset` that are kept for it.
    fn allow(&mut self, offset: u16, mask: u32) {
        self.register(offset).writable |= mask;
    }

    fn trap(&mut self, offset: u16, trap: Trap) {
        self.register(offset).trap = Some(trap);
    }

    fn register(&mut self, offset: u16) -> &mut Register {
        let registers = &mut self.space.registers;
        let at = registers.partition_point(|register| register.offset < offset);
        if registers.get(at).is_none_or(|register| register.offset != offset) {
            registers.insert(
                at,
                Register {
                    offset,
                    shadow: 0,
                    initial: 0,
                    virtual_bits: u32::MAX,
                    writable: 0,
                    clear: 0,
                    trap: None,
                },
            );
        }
        &mut registers[at]
    }
}

/// Where the room of the capability at `at` ends: at the next one of the list, known or not.
fn room_end(found: &[(u16, u16)], at: u16, end: u16) -> u16 {
    let after = found.iter().map(|(_, start)| *start).filter(|start| *start > at);
    after.min().unwrap_or(end)
}
