//! Commands of queue portals.

use super::frame::{Nothing, layout};
use super::{command, id};

layout! {
    /// Asks for a queue portal's attributes.
    GetAttributes {}
}

layout! {
    /// A queue portal's attributes.
    Attributes {
        /// The object's number.
        8 number: u32,
        /// The hardware's number for the portal.
        12 portal: u16,
        /// Priorities.
        14 priorities: u8,
        /// In bits 1:0; see [`channel_mode`](Self::channel_mode).
        15 mode: u8,
        /// Where the cache-enabled area is.
        16 cache_enabled: u64,
        /// Where the cache-inhibited area is.
        24 cache_inhibited: u64,
        /// Version of the queue manager.
        32 qbman_version: u32,
        /// Its clock, in hertz.
        40 clock: u32,
    }
}
command!(GetAttributes => Attributes, id::GET_ATTRIBUTES, reads: true);

impl Attributes {
    /// How the channel works; the other bits of [`mode`](Self::mode) have no meaning.
    #[must_use]
    pub const fn channel_mode(&self) -> u8 {
        self.mode & 0b11
    }
}

layout! {
    /// Chooses the cache that a queue portal stashes into. [layout not verified]
    SetStashing {
        /// The cache.
        8 destination: u8,
    }
}
command!(SetStashing => Nothing, id::DPIO_SET_STASHING, reads: false);
