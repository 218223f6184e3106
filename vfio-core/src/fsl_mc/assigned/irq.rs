//! Interrupts of an open object: one for each index, each off or going to the owner's sink.

use super::{Assigned, Message, ObjectPlatform};
use crate::clock::Clock;
use crate::device::{IrqAction, IrqError, IrqFlags, IrqInfo, IrqRequest};
use crate::fault::Fault;
use crate::fsl_mc::ObjectType;
use crate::fsl_mc::portal::{PortalError, PortalRegisters};
use crate::fsl_mc::spec::dprc::SetObjIrq;
use crate::fsl_mc::spec::irq::{SetIrq, SetIrqEnable};

/// What every index has.
pub(super) const INFO: IrqInfo = IrqInfo {
    count: 1,
    flags: IrqFlags::SIGNAL,
};

/// One interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Irq {
    /// It goes nowhere, and holds nothing.
    Off,
    /// It goes to the sink.
    On {
        /// Its number in the container.
        slot: u16,
        /// What it writes.
        message: Message,
    },
}

impl<R: PortalRegisters, C: Clock + Clone, P: ObjectPlatform> Assigned<'_, R, C, P> {
    pub(super) fn change_irqs(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError> {
        let index = usize::try_from(request.index).map_err(|_| IrqError::NoIndex(request.index))?;
        let irq = self.irqs.get(index).copied();
        request.check(irq.map(|_| INFO))?;
        let irq = irq.ok_or(IrqError::NoIndex(request.index))?;
        match (request.action, irq) {
            (IrqAction::Signal([true]), Irq::Off) => self.turn_on(index),
            (IrqAction::Signal([true]), Irq::On { .. }) => Ok(()),
            // Neither needs that anything was set up before.
            (IrqAction::Signal([false]) | IrqAction::Disable, _) => Ok(self.turn_off(index)?),
            (IrqAction::Trigger, Irq::On { .. }) => {
                self.shared.sink.signal(self.id.into(), request.index, 0);
                Ok(())
            }
            // Without a sink there is nobody to tell.
            (IrqAction::Trigger, Irq::Off) => Ok(()),
            (IrqAction::Signal(_), _) => Err(IrqError::Shape),
            (IrqAction::Mask | IrqAction::Unmask, _) => Err(IrqError::Unsupported),
        }
    }

    fn turn_on(&mut self, at: usize) -> Result<(), IrqError> {
        let index = short(at)?;
        let slot = self.shared.irqs.0.lock().take();
        let slot = slot.ok_or(IrqError::Fewer(0))?;
        let message = match self.shared.platform.connect(self.id, index, slot) {
            Ok(message) => message,
            Err(fault) => {
                self.shared.irqs.0.lock().give_back(slot);
                return Err(fault.into());
            }
        };
        if let Err(fault) = self.set_message(index, slot, message) {
            // A number that may still be connected is not given to anybody else.
            if self.shared.platform.disconnect(self.id, index, slot).is_ok() {
                self.shared.irqs.0.lock().give_back(slot);
            }
            return Err(fault.into());
        }
        if let Some(irq) = self.irqs.get_mut(at) {
            *irq = Irq::On { slot, message };
        }
        Ok(())
    }

    /// Turns an interrupt off in the object first, so that it does not write a message that means something else by then.
    pub(super) fn turn_off(&mut self, at: usize) -> Result<(), Fault> {
        let Some(Irq::On { slot, .. }) = self.irqs.get(at).copied() else {
            return Ok(());
        };
        let index = short(at)?;
        let id = self.id;
        self.shared
            .portal
            .acquire()?
            .once(id, |session| session.send(&SetIrqEnable { enable: false, index }))?;
        self.shared.platform.disconnect(id, index, slot)?;
        self.shared.irqs.0.lock().give_back(slot);
        if let Some(irq) = self.irqs.get_mut(at) {
            *irq = Irq::Off;
        }
        Ok(())
    }

    /// Tells the complex again where interrupts go, after a reset.
    pub(super) fn restore_irqs(&mut self) -> Result<(), Fault> {
        for (at, irq) in self.irqs.iter().enumerate() {
            if let Irq::On { slot, message } = *irq {
                self.set_message(short(at)?, slot, message)?;
            }
        }
        Ok(())
    }

    fn set_message(&self, index: u8, slot: u16, message: Message) -> Result<(), Fault> {
        let Message { address, value } = message;
        let id = self.id;
        let mut portal = self.shared.portal.acquire()?;
        let set: Result<_, PortalError> = portal.once(self.container, |session| {
            if id.kind == ObjectType::Dprc {
                session.send(&SetIrq {
                    value,
                    index,
                    address,
                    number: slot.into(),
                })
            } else {
                session.send(&SetObjIrq {
                    value,
                    index,
                    address,
                    irq_number: slot.into(),
                    number: id.number,
                    kind: id.kind,
                })
            }
        });
        set?;
        Ok(())
    }
}

/// An index as commands have it; an object has at most 255.
fn short(index: usize) -> Result<u8, Fault> {
    u8::try_from(index).map_err(|_| Fault::Unknown)
}
