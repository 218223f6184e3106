//! Commands of the Management Complex itself. They need no token.

use super::frame::layout;
use super::{command, id};

layout! {
    /// Asks for the firmware's version.
    GetVersion {}
}

layout! {
    /// The firmware's version.
    Version {
        /// Revision.
        8 revision: u32,
        /// Major version.
        12 major: u32,
        /// Minor version.
        16 minor: u32,
    }
}
command!(GetVersion => Version, id::GET_FIRMWARE_VERSION, reads: true);

layout! {
    /// Asks which container a portal belongs to.
    GetContainerId {}
}

layout! {
    /// The container that a portal belongs to.
    ContainerId {
        /// Its number.
        8 number: u32,
    }
}
command!(GetContainerId => ContainerId, id::GET_CONTAINER_ID, reads: true);
