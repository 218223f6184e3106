//! A function's virtual configuration space, made from the tables and from what discovery decoded.
//!
//! The device may answer differently now than it did then. Where discovery decoded a capability, its word counts.

mod lists;
mod rows;
mod special;

use super::bars::{self, BarPolicy, VirtualBar};
use super::row::Trap;
use super::space::VirtualConfig;
use super::{backdoor, table};
use crate::pci::config::{ConfigAccess, Function, Registers};
use crate::pci::quirk::Quirks;
use crate::pci::spec::{Command, MULTI_FUNCTION, header};
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
        let no_line = Quirks::of(function).intx_is_broken();
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
}
