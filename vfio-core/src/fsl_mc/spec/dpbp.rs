//! Commands of buffer pools.

use super::frame::layout;
use super::{command, id};

layout! {
    /// Asks for a pool's attributes.
    GetAttributes {}
}

layout! {
    /// A pool's attributes.
    Attributes {
        /// The hardware's number for the pool.
        10 pool: u16,
        /// The object's number.
        12 number: u32,
        /// Major version.
        16 major: u16,
        /// Minor version.
        18 minor: u16,
    }
}
command!(GetAttributes => Attributes, id::GET_ATTRIBUTES, reads: true);
