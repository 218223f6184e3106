//! Interrupts of a device, by index as in VFIO: an index is a kind of interrupt (INTx, MSI, MSI-X, an object's), and has
//! one or more interrupts, each of which signals a sink.

use bitflags::bitflags;

use crate::fault::Fault;
use crate::id::DeviceId;

bitflags! {
    /// What can be done with the interrupts of an index.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct IrqFlags: u8 {
        /// They can signal a sink.
        const SIGNAL = 1;
        /// They can be masked and unmasked.
        const MASKABLE = 1 << 1;
        /// They are masked when they signal, until they are unmasked: level-triggered ones.
        const AUTOMASKED = 1 << 2;
        /// How many are in use cannot change while any is.
        const FIXED_COUNT = 1 << 3;
    }
}

/// The interrupts of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IrqInfo {
    /// How many there are; 0 where the device has none.
    pub count: u32,
    /// What can be done with them.
    pub flags: IrqFlags,
}

/// Interrupts of one index: `start` and the ones after it, `count` in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IrqRange {
    /// The first one.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// What is to be done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqAction<'a> {
    /// From now on they signal the sink: `true` for each that does, `false` for each that is left without.
    Signal(&'a [bool]),
    /// None of the index signals any more; its resources are free. The range must be empty.
    Disable,
    /// Signal the sink as the device would.
    Trigger,
    /// Hold signals back.
    Mask,
    /// Let signals through; one that was held back is signalled now.
    Unmask,
}

/// A request to [`Device::set_irqs`](super::Device::set_irqs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqRequest<'a> {
    /// Which kind.
    pub index: u32,
    /// Which of them.
    pub range: IrqRange,
    /// What to do.
    pub action: IrqAction<'a>,
}

impl IrqRequest<'_> {
    /// Checks the request against what the device has: everything that does not depend on the kind of interrupt.
    ///
    /// # Errors
    /// [`IrqError`].
    pub fn check(&self, info: Option<IrqInfo>) -> Result<IrqInfo, IrqError> {
        let info = info.ok_or(IrqError::NoIndex(self.index))?;
        let IrqRange { start, count } = self.range;
        let inside = start
            .checked_add(count)
            .is_some_and(|end| end <= info.count && (count == 0 || start < info.count));
        let outside = IrqError::Outside {
            start,
            count,
            available: info.count,
        };
        match self.action {
            IrqAction::Disable if count == 0 && start == 0 => Ok(info),
            IrqAction::Disable => Err(outside),
            _ if count == 0 || !inside => Err(outside),
            IrqAction::Signal(sinks) if usize::try_from(count) != Ok(sinks.len()) => Err(IrqError::Shape),
            IrqAction::Signal(_) if !info.flags.contains(IrqFlags::SIGNAL) => Err(IrqError::Unsupported),
            IrqAction::Mask | IrqAction::Unmask if !info.flags.contains(IrqFlags::MASKABLE) => {
                Err(IrqError::Unsupported)
            }
            _ => Ok(info),
        }
    }
}

/// Why interrupts were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IrqError {
    /// There is no such kind of interrupt.
    #[error("the device has no interrupts with index {0}")]
    NoIndex(u32),
    /// The range is not what the index has.
    #[error("{count} interrupts from {start} on are asked for, and there are {available}")]
    Outside {
        /// First of the range.
        start: u32,
        /// How many.
        count: u32,
        /// How many there are.
        available: u32,
    },
    /// There is not one sink for each interrupt.
    #[error("there must be one entry for each interrupt of the range")]
    Shape,
    /// These interrupts cannot do that.
    #[error("these interrupts cannot do that")]
    Unsupported,
    /// Another kind of interrupt of the device is in use.
    #[error("interrupts with index {0} are in use; disable them first")]
    OtherInUse(u32),
    /// Fewer can be had.
    #[error("only {0} interrupts can be had")]
    Fewer(u32),
    /// The device, or what routes its interrupts, did not do it.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Where signals go: in place of VFIO's event file descriptors.
pub trait IrqSink {
    /// An interrupt of `device` came. May be called in an interrupt handler: it neither waits nor allocates.
    fn signal(&self, device: DeviceId, index: u32, number: u32);
}
