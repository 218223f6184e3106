//! Numbers of commands.

use super::header::CommandId;
use crate::fsl_mc::ObjectType;

/// Closes an object: its token is void.
pub const CLOSE: CommandId = CommandId(0x800);
/// Lets an object work.
pub const ENABLE: CommandId = CommandId(0x002);
/// Stops an object.
pub const DISABLE: CommandId = CommandId(0x003);
/// Attributes; the answer depends on the type.
pub const GET_ATTRIBUTES: CommandId = CommandId(0x004);
/// Resets an object; of a container, a container inside it or itself.
pub const RESET: CommandId = CommandId(0x005);
/// Whether an object may work.
pub const IS_ENABLED: CommandId = CommandId(0x006);
/// Sets where an interrupt goes.
pub const SET_IRQ: CommandId = CommandId(0x010);
/// Where an interrupt goes.
pub const GET_IRQ: CommandId = CommandId(0x011);
/// Turns an interrupt on or off.
pub const SET_IRQ_ENABLE: CommandId = CommandId(0x012);
/// Whether an interrupt is on.
pub const GET_IRQ_ENABLE: CommandId = CommandId(0x013);
/// Chooses the events that raise an interrupt.
pub const SET_IRQ_MASK: CommandId = CommandId(0x014);
/// The events that raise an interrupt.
pub const GET_IRQ_MASK: CommandId = CommandId(0x015);
/// The events that happened.
pub const GET_IRQ_STATUS: CommandId = CommandId(0x016);
/// Forgets events that happened.
pub const CLEAR_IRQ_STATUS: CommandId = CommandId(0x017);

/// The container that a portal belongs to.
pub const GET_CONTAINER_ID: CommandId = CommandId(0x830);
/// The firmware's version.
pub const GET_FIRMWARE_VERSION: CommandId = CommandId(0x831);
/// How many objects a container has.
pub const GET_OBJ_COUNT: CommandId = CommandId(0x159);
/// One object of a container.
pub const GET_OBJ: CommandId = CommandId(0x15a);
/// A region of an object in a container.
pub const GET_OBJ_REGION: CommandId = CommandId(0x15e);
/// Sets where an interrupt of an object in a container goes.
pub const SET_OBJ_IRQ: CommandId = CommandId(0x15f);
/// What an endpoint is connected to.
pub const GET_CONNECTION: CommandId = CommandId(0x16c);
/// Makes a channel notify a queue portal.
pub const DPCON_SET_NOTIFICATION: CommandId = CommandId(0x100);
/// Chooses the cache that a queue portal stashes into.
pub const DPIO_SET_STASHING: CommandId = CommandId(0x120);

const OPEN: u16 = 0x800;
const CREATE: u16 = 0x900;
const DESTROY: u16 = 0x980;
const API_VERSION: u16 = 0xa00;

/// A type's place among the types, as the numbers of its commands have it: 1 to 16.
const fn place(kind: ObjectType) -> u16 {
    match kind {
        ObjectType::Dpni => 0x1,
        ObjectType::Dpsw => 0x2,
        ObjectType::Dpio => 0x3,
        ObjectType::Dpbp => 0x4,
        ObjectType::Dprc => 0x5,
        ObjectType::Dpdmux => 0x6,
        ObjectType::Dpci => 0x7,
        ObjectType::Dpcon => 0x8,
        ObjectType::Dpseci => 0x9,
        ObjectType::Dpaiop => 0xa,
        ObjectType::Dpmcp => 0xb,
        ObjectType::Dpmac => 0xc,
        ObjectType::Dpdcei => 0xd,
        ObjectType::Dpdmai => 0xe,
        ObjectType::Dpdbg => 0xf,
        ObjectType::Dprtc => 0x10,
    }
}

/// What a command does whose number depends on the type of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Typed {
    /// Opens an object.
    Open(ObjectType),
    /// Makes an object.
    Create(ObjectType),
    /// Unmakes an object.
    Destroy(ObjectType),
    /// Asks for the version of the type's interface.
    ApiVersion(ObjectType),
}

/// The number of the command that opens an object.
#[must_use]
pub const fn open(kind: ObjectType) -> CommandId {
    CommandId(OPEN + place(kind))
}

/// The number of the command that makes an object.
#[must_use]
pub const fn create(kind: ObjectType) -> CommandId {
    CommandId(CREATE + place(kind))
}

/// The number of the command that unmakes an object. Old firmware has 0x900 for all types.
#[must_use]
pub const fn destroy(kind: ObjectType) -> CommandId {
    CommandId(DESTROY + place(kind))
}

/// The number of the command that asks for the version of a type's interface.
#[must_use]
pub const fn api_version(kind: ObjectType) -> CommandId {
    CommandId(API_VERSION + place(kind))
}

/// What a command is, if its number depends on a type.
#[must_use]
pub fn typed(id: CommandId) -> Option<Typed> {
    let of = |base: u16| {
        ObjectType::ALL
            .into_iter()
            .find(|kind| id.0 == base + place(*kind))
    };
    of(OPEN)
        .map(Typed::Open)
        .or_else(|| of(CREATE).map(Typed::Create))
        .or_else(|| of(DESTROY).map(Typed::Destroy))
        .or_else(|| of(API_VERSION).map(Typed::ApiVersion))
}
