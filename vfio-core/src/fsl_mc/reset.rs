//! Making objects quiet, resetting them alone or by whole containers, and seeing whether they are still there.

use super::portal::{Portal, PortalError, PortalRegisters};
use super::spec::dprc::{GetAttributes, ResetContainer, ResetOptions};
use super::spec::irq::SetIrqEnable;
use super::spec::{ApiVersion, common, reset_version};
use super::{ObjectId, ObjectType};
use crate::clock::Clock;
use crate::cohort::{DeviceReset, ResetAction, SetReset};
use crate::{DeviceId, Fault};

/// Resets a container with what is directly in it, and leaves the containers inside alone where the firmware can (from
/// 6.5 on). Tokens of the container's own software are void afterwards.
///
/// # Errors
/// It was not reset, or nobody knows: the set is then out of service.
pub fn reset_container<R: PortalRegisters, C: Clock>(
    portal: &mut Portal<R, C>,
    container: ObjectId,
    api: ApiVersion,
) -> Result<(), PortalError> {
    let request = ResetContainer {
        container: container.number,
        options: ResetOptions::NON_RECURSIVE,
    };
    portal.once(container, |session| {
        session.send_version(reset_version(api), &request).map(|_| ())
    })
}

/// Resets an object: a container as [`reset_container`] does, any other by open, reset, close.
///
/// # Errors
/// It was not reset, or nobody knows: the set is then out of service.
pub fn reset_object<R: PortalRegisters, C: Clock>(
    portal: &mut Portal<R, C>,
    object: ObjectId,
    api: ApiVersion,
) -> Result<(), PortalError> {
    if object.kind == ObjectType::Dprc {
        return reset_container(portal, object, api);
    }
    portal.once(object, |session| session.send(&common::Reset).map(|_| ()))
}

/// Carries out a reset of a cohort, as [`lease::Reset`](crate::lease::Reset) asks for it.
///
/// # Errors
/// It is none of an object or container ([`Fault::Unknown`]), or was not done, or nobody knows.
pub fn run<R: PortalRegisters, C: Clock>(
    portal: &mut Portal<R, C>,
    action: &ResetAction,
    api: ApiVersion,
) -> Result<(), Fault> {
    match *action {
        ResetAction::Set {
            by: SetReset::Container(container),
            ..
        } => reset_container(portal, container, api)?,
        ResetAction::Device {
            device: DeviceId::FslMc(object),
            method: DeviceReset::Object,
        } => reset_object(portal, object, api)?,
        _ => return Err(Fault::Unknown),
    }
    Ok(())
}

/// Whether objects of a type work on their own, and so can be told to stop. [Not in the reference: the others have no such
/// command in any driver of Linux.]
#[must_use]
pub const fn can_be_disabled(kind: ObjectType) -> bool {
    use ObjectType::{Dpbp, Dpci, Dpcon, Dpdcei, Dpdmai, Dpdmux, Dpio, Dpni, Dpseci, Dpsw};
    matches!(
        kind,
        Dpni | Dpsw | Dpio | Dpbp | Dpdmux | Dpci | Dpcon | Dpseci | Dpdcei | Dpdmai
    )
}

/// Stops an object, and turns its `irqs` interrupts off.
///
/// # Errors
/// It may still work.
pub fn quiesce<R: PortalRegisters, C: Clock>(
    portal: &mut Portal<R, C>,
    object: ObjectId,
    irqs: u8,
) -> Result<(), PortalError> {
    portal.once(object, |session| {
        if can_be_disabled(object.kind) {
            session.send(&common::Disable)?;
        }
        for index in 0..irqs {
            session.send(&SetIrqEnable { enable: false, index })?;
        }
        Ok(())
    })
}

/// Whether an object can be opened; of a container also whether it is the same one, with the ICID `icid`.
///
/// # Errors
/// It cannot, or is another one: [`Fault::Gone`].
pub fn check_alive<R: PortalRegisters, C: Clock>(
    portal: &mut Portal<R, C>,
    object: ObjectId,
    icid: Option<u16>,
) -> Result<(), Fault> {
    let found = portal.once(object, |session| match object.kind {
        ObjectType::Dprc => session.send(&GetAttributes).map(Some),
        _ => Ok(None),
    })?;
    match found {
        Some(found) if found.container != object.number || Some(found.icid) != icid => Err(Fault::Gone),
        _ => Ok(()),
    }
}
