//! Reads and writes of a guest's configuration space.

use super::bars::{self, BarPolicy, ROM, ROM_ENABLE, VirtualBar};
use super::row::Trap;
use super::{ConfigError, Effect, Effects};
use crate::pci::Bdf;
use crate::pci::config::{Bar, ConfigAccess, Msi, Width};
use crate::pci::spec::{Command, header};
use alloc::vec::Vec;
use arrayvec::ArrayVec;

/// Four bytes that some row names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register {
    pub(super) offset: u16,
    /// What is kept for the guest.
    pub(super) shadow: u32,
    /// `shadow` after a reset.
    pub(super) initial: u32,
    /// Bits that come from `shadow`; the others are the hardware's.
    pub(super) virtual_bits: u32,
    /// Bits that the guest may change.
    pub(super) writable: u32,
    /// Bits of the hardware that a written one clears.
    pub(super) clear: u32,
    pub(super) trap: Option<Trap>,
}

/// The virtual configuration space of one function.
///
/// A hardware access needs the machine's configuration space, which every call gets, and which must be the one that the space was
/// built with.
#[derive(Clone, Debug)]
pub struct VirtualConfig {
    pub(super) bdf: Bdf,
    /// Bytes: 256 or 4096.
    pub(super) size: u16,
    /// By offset.
    pub(super) registers: Vec<Register>,
    pub(super) bars: ArrayVec<VirtualBar, 7>,
    pub(super) policy: BarPolicy,
    /// The hardware's base address registers and the ROM's, as they must be.
    pub(super) saved: [u32; 7],
    pub(super) virtual_function: bool,
    /// The guest may have the function reset.
    pub(super) resets: bool,
    /// The hardware's INTx is held back.
    pub(super) line_masked: bool,
    pub(super) restored: u32,
    pub(super) power: Option<u16>,
    pub(super) vpd: Option<u16>,
    pub(super) msi: Option<Msi>,
    /// log2 of the vectors that the guest may have.
    pub(super) msi_limit: u16,
    pub(super) msix: Option<u16>,
}

/// An access that is inside the space and aligned.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) register: u16,
    pub(super) shift: u32,
    pub(super) mask: u32,
}

impl VirtualConfig {
    /// The function in the host.
    #[must_use]
    pub const fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// Bytes of the space: 256, or 4096 for a PCI Express function.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// How often the hardware had been reset behind our back.
    #[must_use]
    pub const fn restored(&self) -> u32 {
        self.restored
    }

    /// The BARs that the guest sees, as they were given.
    #[must_use]
    pub fn bars(&self) -> &[VirtualBar] {
        &self.bars
    }

    /// Where BAR `index` (0 to 5, or [`ROM`]) answers in the guest now; `None` if nowhere.
    #[must_use]
    pub fn bar_address(&self, index: u8) -> Option<u64> {
        let bar = &self.bars.iter().find(|bar| bar.host.index == index)?.host;
        self.bar_asked(index)
            .filter(|address| self.may_answer(bar, *address))
    }

    /// Where the guest has put a BAR that it decodes, be that a place where one may be or not.
    #[must_use]
    pub fn bar_asked(&self, index: u8) -> Option<u64> {
        let bar = &self.bars.iter().find(|bar| bar.host.index == index)?.host;
        let (memory, io) = self.decode();
        let low = self.shadow(bars::register(index));
        let on = match (index, bar.is_memory()) {
            (ROM, _) => memory && low & ROM_ENABLE != 0,
            (_, true) => memory,
            (_, false) => io,
        };
        let (address_bits, _) = bars::low_bits(bar);
        let address_bits = if index == ROM {
            address_bits & !ROM_ENABLE
        } else {
            address_bits
        };
        let mut address = u64::from(low & address_bits);
        let mut all_ones = low & address_bits == address_bits;
        if bars::is_wide(bar) {
            let high = self.shadow(bars::register(index) + 4) & bars::high_bits(bar);
            address |= u64::from(high) << 32;
            all_ones &= high == bars::high_bits(bar);
        }
        // All ones ask for the size, and are no place.
        (on && !all_ones).then_some(address)
    }

    /// Whether `bar` may answer at `address`, as the policy for BARs has it.
    #[must_use]
    pub fn may_answer(&self, bar: &Bar, address: u64) -> bool {
        self.policy.allows(bar, address)
    }

    /// Whether memory and I/O accesses are answered, as the guest sees it.
    #[must_use]
    pub fn decode(&self) -> (bool, bool) {
        let command = Command::from_bits_retain(self.shadow(header::COMMAND) as u16);
        (command.contains(Command::MEMORY), command.contains(Command::IO))
    }

    /// Whether a write would turn memory accesses off. Mappings of BARs must be gone before it is made.
    #[must_use]
    pub fn turns_memory_off(&self, offset: u16, width: Width, value: u32) -> bool {
        let memory = u32::from(Command::MEMORY.bits());
        let Ok(place) = self.place(offset, width) else {
            return false;
        };
        place.register == header::COMMAND
            && place.mask & memory != 0
            && value << place.shift & memory == 0
            && self.decode().0
    }

    /// Reads `width` at `offset`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read<C: ConfigAccess + ?Sized>(
        &self,
        config: &C,
        offset: u16,
        width: Width,
    ) -> Result<u32, ConfigError> {
        let place = self.place(offset, width)?;
        let Some(register) = self.register(place.register) else {
            return Ok(0);
        };
        let mut value = register.shadow & register.virtual_bits;
        if !register.virtual_bits & place.mask != 0 {
            value |= config.read(self.bdf, offset, width) << place.shift & !register.virtual_bits;
        }
        Ok((value & place.mask) >> place.shift)
    }

    /// Writes the low `width` of `value` at `offset`. What else is to be done comes back.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing was written.
    pub fn write<C: ConfigAccess + ?Sized>(
        &mut self,
        config: &C,
        offset: u16,
        width: Width,
        value: u32,
    ) -> Result<Effects, ConfigError> {
        let place = self.place(offset, width)?;
        let value = value << place.shift & place.mask;
        let mut effects = Effects::new();
        let bdf = self.bdf;
        let Some(register) = self.register_mut(place.register) else {
            return Ok(effects);
        };
        let before = register.shadow;
        let keep = register.virtual_bits & register.writable & place.mask;
        register.shadow = before & !keep | value & keep;
        match register.trap {
            None => pass_on(config, bdf, register, place, value),
            Some(trap) => self.trapped(config, trap, place, value, before, &mut effects),
        }
        Ok(effects)
    }

    /// Reads `data.len()` bytes at any `offset`, in aligned pieces.
    ///
    /// # Errors
    /// [`ConfigError::Outside`]; nothing was read.
    pub fn read_bytes<C: ConfigAccess + ?Sized>(
        &self,
        config: &C,
        offset: u64,
        data: &mut [u8],
    ) -> Result<(), ConfigError> {
        let mut at = self.inside(offset, data.len())?;
        let mut rest = data;
        while !rest.is_empty() {
            let width = piece(at, rest.len());
            let (now, later) = rest.split_at_mut(usize::from(width.bytes()).min(rest.len()));
            let value = self.read(config, at, width)?.to_le_bytes();
            now.iter_mut().zip(value).for_each(|(to, from)| *to = from);
            at += width.bytes();
            rest = later;
        }
        Ok(())
    }

    /// Writes `data` at any `offset`, in aligned pieces, each with its effects.
    ///
    /// # Errors
    /// [`ConfigError::Outside`]; nothing was written.
    pub fn write_bytes<C: ConfigAccess + ?Sized>(
        &mut self,
        config: &C,
        offset: u64,
        data: &[u8],
        effect: &mut dyn FnMut(Effect),
    ) -> Result<(), ConfigError> {
        let mut at = self.inside(offset, data.len())?;
        let mut rest = data;
        while !rest.is_empty() {
            let width = piece(at, rest.len());
            let (now, later) = rest.split_at(usize::from(width.bytes()).min(rest.len()));
            let value = now
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u32::from(*byte));
            self.write(config, at, width, value)?
                .into_iter()
                .for_each(&mut *effect);
            at += width.bytes();
            rest = later;
        }
        Ok(())
    }

    fn inside(&self, offset: u64, len: usize) -> Result<u16, ConfigError> {
        let size = self.size;
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        end.filter(|end| *end <= u64::from(size))
            .and_then(|_| u16::try_from(offset).ok())
            .ok_or(ConfigError::Outside { offset, size })
    }

    pub(super) fn place(&self, offset: u16, width: Width) -> Result<Place, ConfigError> {
        self.inside(offset.into(), width.bytes().into())?;
        if !offset.is_multiple_of(width.bytes()) {
            let width = width.bytes();
            return Err(ConfigError::Unaligned { offset, width });
        }
        let shift = u32::from(offset % 4) * 8;
        Ok(Place {
            register: offset & !3,
            shift,
            mask: u32::MAX >> (32 - 8 * u32::from(width.bytes())) << shift,
        })
    }

    pub(super) fn register(&self, offset: u16) -> Option<&Register> {
        let at = self
            .registers
            .binary_search_by_key(&offset, |register| register.offset);
        self.registers.get(at.ok()?)
    }

    pub(super) fn register_mut(&mut self, offset: u16) -> Option<&mut Register> {
        let at = self
            .registers
            .binary_search_by_key(&offset, |register| register.offset);
        self.registers.get_mut(at.ok()?)
    }

    /// The guest's bits of the four bytes at `offset`.
    pub(super) fn shadow(&self, offset: u16) -> u32 {
        self.register(offset).map_or(0, |register| register.shadow)
    }

    /// Replaces bits that are kept for the guest.
    pub(super) fn set_shadow(&mut self, offset: u16, mask: u32, bits: u32) {
        if let Some(register) = self.register_mut(offset) {
            register.shadow = register.shadow & !mask | bits & mask;
        }
    }
}

/// The largest aligned piece at `at`.
fn piece(at: u16, left: usize) -> Width {
    match (at % 4, left) {
        (0, 4..) => Width::Dword,
        (0 | 2, 2..) => Width::Word,
        _ => Width::Byte,
    }
}

/// Writes the bits that go to the hardware. A half of the register that the guest did not write, or may not, is left alone: it
/// may clear itself when it is written.
pub(super) fn pass_on<C: ConfigAccess + ?Sized>(
    config: &C,
    bdf: Bdf,
    register: &Register,
    place: Place,
    value: u32,
) {
    let through = !register.virtual_bits & register.writable & place.mask;
    let (width, bytes, ones) = match place.mask.count_ones() {
        8 => (Width::Byte, 1, 0xff),
        _ => (Width::Word, 2, 0xffff),
    };
    for byte in (0..4).step_by(bytes) {
        let shift = 8 * byte as u32;
        let bits = through >> shift & ones;
        if bits == 0 {
            continue;
        }
        let offset = register.offset + byte as u16;
        // A register with bits that ones clear gets no one but the guest's.
        let kept = if register.clear >> shift & ones == 0 {
            config.read(bdf, offset, width) & !bits
        } else {
            0
        };
        config.write(bdf, offset, width, kept | value >> shift & bits);
    }
}
