//! An object of a Management Complex that is open for an owner.
//!
//! It shows the portals that it has as regions, and its interrupts by index, one each. Closing it takes everything back and
//! resets it; a reset that fails is an error, after which nobody may have the set, and not a warning.

mod irq;
mod region;
#[cfg(all(test, not(loom)))]
mod tests;
mod trapped;

pub use region::describe;

use alloc::vec::Vec;

use self::irq::Irq;
use self::trapped::Trapped;
use super::filter::{CommandFilter, CommandRefusal};
use super::pool::IrqPool;
use super::portal::{GUEST_TIMEOUT, Portal, PortalRegisters, SharedPortal};
use super::scan::{Object, ObjectRegion, RegionKind};
use super::spec::ApiVersion;
use super::{ObjectId, ObjectType, reset};
use crate::clock::Clock;
use crate::device::{AccessError, Device, IrqError, IrqInfo, IrqRequest, IrqSink, RegionFlags, RegionInfo};
use crate::fault::Fault;
use crate::id::DeviceId;
use crate::sync::Mutex;

/// A message that an interrupt is: a write of `value` to `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Where, as the complex addresses it.
    pub address: u64,
    /// What.
    pub value: u32,
}

/// What the hypervisor supplies for open objects.
pub trait ObjectPlatform {
    /// Registers of a command portal.
    type Registers: PortalRegisters;

    /// The registers of the command portal in `region`.
    ///
    /// # Errors
    /// They cannot be reached.
    fn registers(&self, region: &ObjectRegion) -> Result<Self::Registers, Fault>;

    /// Makes interrupt `index` of `object` arrive, as number `slot` of its container, and be signalled to the sink.
    ///
    /// # Errors
    /// There is no vector left, or what routes interrupts refuses. Nothing has changed then.
    fn connect(&self, object: ObjectId, index: u8, slot: u16) -> Result<Message, Fault>;

    /// Takes that back; none is signalled afterwards.
    ///
    /// # Errors
    /// It cannot be taken back.
    fn disconnect(&self, object: ObjectId, index: u8, slot: u16) -> Result<(), Fault>;
}

/// How an owner gets at a command portal that it could map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortalAccess {
    /// It maps it. What it sends is left to the complex.
    Mapped,
    /// Each command traps and is filtered.
    Trapped,
}

/// What open objects of one container share.
pub struct Shared<'a, R, C, P> {
    /// The hypervisor's own portal.
    pub portal: &'a SharedPortal<R, C>,
    /// What the hypervisor supplies.
    pub platform: &'a P,
    /// Where signals go.
    pub sink: &'a dyn IrqSink,
    /// The container's interrupts.
    pub irqs: &'a Irqs,
    /// Time.
    pub clock: C,
    /// The version of the containers' interface.
    pub api: ApiVersion,
}

impl<R, C: Clone, P> Clone for Shared<'_, R, C, P> {
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            ..*self
        }
    }
}

/// The interrupts of a container, which its open objects take theirs from.
pub struct Irqs(Mutex<IrqPool>);

impl Irqs {
    /// These.
    #[must_use]
    pub fn new(pool: IrqPool) -> Self {
        Self(Mutex::new(pool))
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.lock().free()
    }
}

/// An open object. [`close`](Self::close) it: what is only dropped keeps its interrupts and is not reset.
#[must_use = "an open object must be closed"]
pub struct Assigned<'a, R, C, P: ObjectPlatform> {
    id: ObjectId,
    container: ObjectId,
    regions: Vec<RegionInfo>,
    /// One for each region; `None` where nothing traps.
    trapped: Vec<Option<Trapped<P::Registers, C>>>,
    irqs: Vec<Irq>,
    shared: Shared<'a, R, C, P>,
}

impl<'a, R: PortalRegisters, C: Clock + Clone, P: ObjectPlatform> Assigned<'a, R, C, P> {
    /// Opens `object` for an owner who may open the objects of `scope` through command portals that trap (see
    /// [`scope`](super::filter::scope)).
    ///
    /// # Errors
    /// [`Fault::Rejected`]: something is wrong with the object. Or its registers cannot be reached.
    pub fn open(
        object: &Object,
        scope: &[ObjectId],
        access: PortalAccess,
        shared: Shared<'a, R, C, P>,
    ) -> Result<Self, Fault> {
        if object.problem.is_some() || !object.plugged() {
            return Err(Fault::Rejected);
        }
        let mut regions = Vec::new();
        let mut trapped = Vec::new();
        for region in &object.regions {
            let info = region::describe(object.id.kind, region, access);
            let traps = region.kind == RegionKind::Command && info.flags.contains(RegionFlags::READ);
            trapped.push(if traps {
                let registers = shared.platform.registers(region)?;
                let portal = Portal::new(registers, shared.clock.clone()).with_limit(GUEST_TIMEOUT);
                Some(Trapped::new(portal, CommandFilter::new(scope.to_vec())))
            } else {
                None
            });
            regions.push(info);
        }
        Ok(Self {
            id: object.id,
            // A container's interrupts are set through itself.
            container: if object.id.kind == ObjectType::Dprc {
                object.id
            } else {
                object.container
            },
            regions,
            trapped,
            irqs: (0..object.irqs).map(|_| Irq::Off).collect(),
            shared,
        })
    }

    /// The command of the owner that was refused last, if any was since this was last asked.
    pub fn take_refusal(&mut self) -> Option<CommandRefusal> {
        let trapped = self.trapped.iter_mut().flatten();
        trapped.filter_map(Trapped::take_refusal).last()
    }

    /// Closes it: what its owner left open is closed, its interrupts go, it is reset. Each is tried whatever became of the ones
    /// before.
    ///
    /// # Errors
    /// The first that failed. The set is then out of service.
    pub fn close(mut self) -> Result<(), Fault> {
        let mut result = Ok(());
        for trapped in self.trapped.iter_mut().flatten() {
            result = result.and(trapped.close());
        }
        for index in 0..self.irqs.len() {
            result = result.and(self.turn_off(index));
        }
        result.and(self.reset_alone())
    }

    fn reset_alone(&mut self) -> Result<(), Fault> {
        let mut portal = self.shared.portal.acquire()?;
        Ok(reset::reset_object(&mut portal, self.id, self.shared.api)?)
    }

    fn checked(
        &self,
        region: u32,
        offset: u64,
        len: usize,
        needs: RegionFlags,
    ) -> Result<usize, AccessError> {
        let at = usize::try_from(region).map_err(|_| AccessError::NoRegion(region))?;
        let info = self.regions.get(at).ok_or(AccessError::NoRegion(region))?;
        if !info.flags.contains(needs) {
            return Err(AccessError::Denied);
        }
        info.check(offset, len)?;
        if offset != 0 || len != trapped::FRAME {
            return Err(AccessError::Shape { offset, len });
        }
        Ok(at)
    }
}

impl<R: PortalRegisters, C: Clock + Clone, P: ObjectPlatform> Device for Assigned<'_, R, C, P> {
    fn id(&self) -> DeviceId {
        self.id.into()
    }

    fn region(&self, index: u32) -> Option<RegionInfo> {
        self.regions.get(usize::try_from(index).ok()?).cloned()
    }

    fn irq(&self, index: u32) -> Option<IrqInfo> {
        self.irqs.get(usize::try_from(index).ok()?).map(|_| irq::INFO)
    }

    fn can_reset(&self) -> bool {
        true
    }

    /// A command portal that traps reads as the last answer, whole.
    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), AccessError> {
        let at = self.checked(region, offset, data.len(), RegionFlags::READ)?;
        let trapped = self
            .trapped
            .get(at)
            .and_then(Option::as_ref)
            .ok_or(AccessError::Denied)?;
        for (to, from) in data.iter_mut().zip(trapped.answer().bytes()) {
            *to = *from;
        }
        Ok(())
    }

    /// A command portal that traps takes a whole command, which is carried out before this returns. One that is refused is
    /// answered with a status, as the complex does, and is no error here.
    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), AccessError> {
        let at = self.checked(region, offset, data.len(), RegionFlags::WRITE)?;
        let trapped = self
            .trapped
            .get_mut(at)
            .and_then(Option::as_mut)
            .ok_or(AccessError::Denied)?;
        trapped.send(data, offset)
    }

    fn set_irqs(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError> {
        self.change_irqs(request)
    }

    /// Resets it: a container with what is directly in it, any other object alone. Its interrupts go where they went.
    fn reset(&mut self) -> Result<(), Fault> {
        self.reset_alone()?;
        self.restore_irqs()
    }
}
