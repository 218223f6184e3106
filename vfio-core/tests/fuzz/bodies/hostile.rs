//! Configuration spaces that hold what the input says, and behave as badly as it says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use vfio_core::clock::Clock;
use vfio_core::pci::Bdf;
use vfio_core::pci::config::{ConfigAccess, MmioAccess, Width};

/// Bytes of one configuration space.
pub(super) const SIZE: usize = 0x1000;

/// How a function behaves, as bits.
pub(super) mod behaviour {
    /// Every bit can be written.
    pub(crate) const ALL_WRITABLE: u8 = 1 << 0;
    /// Now and then a read returns something else.
    pub(crate) const FLICKERS: u8 = 1 << 1;
    /// After some reads it is gone.
    pub(crate) const LEAVES: u8 = 1 << 2;
    /// Writes are lost.
    pub(crate) const DEAF: u8 = 1 << 3;
}

/// A function.
pub(super) struct Hostile {
    /// Its configuration space.
    pub(super) bytes: Box<[u8; SIZE]>,
    /// See [`behaviour`].
    pub(super) behaviour: u8,
    /// The lowest writable bit of each BAR, 0 for a BAR that cannot be written.
    pub(super) bars: [u8; 6],
}

impl Hostile {
    /// A function of these bytes, zeros behind them.
    pub(super) fn new(bytes: &[u8], behaviour: u8) -> Self {
        let mut all = Box::new([0; SIZE]);
        for (to, from) in all.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self {
            bytes: all,
            behaviour,
            bars: [0; 6],
        }
    }

    fn writable(&self, at: usize) -> u8 {
        if self.behaviour & behaviour::DEAF != 0 {
            return 0;
        }
        if self.behaviour & behaviour::ALL_WRITABLE != 0 {
            return 0xff;
        }
        match at {
            0x04 => 0x47,
            0x05 => 0x05,
            0x10..0x28 => match self.bars[(at - 0x10) / 4] {
                0 => 0,
                lowest => (u32::MAX.checked_shl(lowest.into()).unwrap_or(0)).to_le_bytes()[at % 4],
            },
            0x3e => 0x40,
            _ => 0,
        }
    }
}

/// A machine of hostile functions, with a time of its own.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) functions: RefCell<BTreeMap<Bdf, Hostile>>,
    pub(super) accesses: Cell<u32>,
    time: Cell<u64>,
}

impl vfio_core::pci::reset::ResetHooks for Machine {}

impl Machine {
    /// Whether every function is as good as hardware is: what it remembers is what was written.
    pub(super) fn is_reliable(&self) -> bool {
        let unreliable = behaviour::FLICKERS | behaviour::LEAVES;
        self.functions
            .borrow()
            .values()
            .all(|function| function.behaviour & unreliable == 0)
    }

    /// All configuration spaces as they are.
    pub(super) fn bytes(&self) -> Vec<Vec<u8>> {
        self.functions
            .borrow()
            .values()
            .map(|function| function.bytes.to_vec())
            .collect()
    }

    fn count(&self) -> u32 {
        self.accesses.set(self.accesses.get() + 1);
        self.accesses.get()
    }
}

/// What the trait promises of its callers.
fn check(offset: u16, width: Width) {
    let bytes = width.bytes();
    assert!(
        offset.is_multiple_of(bytes),
        "{offset:#x} is not aligned to {bytes} bytes"
    );
    assert!(usize::from(offset + bytes) <= SIZE, "{offset:#x} is outside");
}

impl ConfigAccess for Machine {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        check(offset, width);
        let count = self.count();
        let functions = self.functions.borrow();
        let ones = u32::MAX >> (32 - 8 * width.bytes());
        let Some(function) = functions.get(&function) else {
            return ones;
        };
        if function.behaviour & behaviour::LEAVES != 0 && count > 60 {
            return ones;
        }
        let bytes = function
            .bytes
            .iter()
            .skip(offset.into())
            .take(width.bytes().into());
        let value = bytes.rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        if function.behaviour & behaviour::FLICKERS != 0 && count % 7 == 3 {
            return (value ^ count.wrapping_mul(0x9e37_79b9)) & ones;
        }
        value
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        check(offset, width);
        self.count();
        let mut functions = self.functions.borrow_mut();
        let Some(function) = functions.get_mut(&function) else {
            return;
        };
        for (at, new) in
            (usize::from(offset)..).zip(value.to_le_bytes().into_iter().take(width.bytes().into()))
        {
            let mask = function.writable(at);
            function.bytes[at] = function.bytes[at] & !mask | new & mask;
        }
    }
}

impl Clock for Machine {
    fn now(&self) -> u64 {
        self.time.get()
    }

    fn wait(&self, nanoseconds: u64) {
        self.time.set(self.time.get() + nanoseconds);
    }
}

impl MmioAccess for &Machine {
    fn read32(&mut self, address: u64) -> u32 {
        assert!(address.is_multiple_of(4), "{address:#x} is not aligned");
        address as u32 ^ self.count()
    }

    fn write32(&mut self, address: u64, _: u32) {
        assert!(address.is_multiple_of(4), "{address:#x} is not aligned");
    }
}
