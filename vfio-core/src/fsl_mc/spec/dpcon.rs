//! Commands of concentrators.

use super::frame::{Nothing, layout};
use super::{command, id};

layout! {
    /// Asks for a concentrator's attributes.
    GetAttributes {}
}

layout! {
    /// A concentrator's attributes.
    Attributes {
        /// The object's number.
        8 number: u32,
        /// The hardware's number for the channel.
        12 channel: u16,
        /// Priorities.
        14 priorities: u8,
    }
}
command!(GetAttributes => Attributes, id::GET_ATTRIBUTES, reads: true);

layout! {
    /// Makes a channel notify a queue portal.
    SetNotification {
        /// The queue portal's number.
        8 dpio: u32,
        /// With this priority.
        12 priority: u8,
        /// What the notification carries.
        16 context: u64,
    }
}
command!(SetNotification => Nothing, id::DPCON_SET_NOTIFICATION, reads: false);
