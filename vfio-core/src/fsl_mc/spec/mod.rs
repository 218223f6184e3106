//! The Management Complex's formats as data: frame and header, status codes, command ids, versions, and one file of
//! layouts for each family of objects.
//!
//! All fields are little-endian. Offsets count from the start of the 64-byte frame; the first 8 bytes are the header.
//! Source: the fsl-mc bus of Linux (drivers/bus/fsl-mc, 5.10 to 5.14) and its users.

pub mod common;
pub mod dpbp;
pub mod dpcon;
pub mod dpio;
pub mod dpmng;
pub mod dpni;
pub mod dprc;
mod frame;
mod header;
pub mod id;
pub mod irq;
mod limits;
mod status;
#[cfg(all(test, not(loom)))]
mod tests;
mod text;
mod version;

pub use frame::{Field, Frame, Layout, Malformed, Nothing, QWORDS};
pub use header::{CommandId, CommandWord, Header, HwFlags, SwFlags};
pub use limits::{
    COMMAND_WINDOW, MAX_IRQS, MAX_PORTALS, REGION_SIZE_NEW, REGION_SIZE_OLD_COMMAND, REGION_SIZE_OLD_QUEUE,
    VENDOR,
};
pub use status::{Refused, Status};
pub use text::Text;
pub use version::{ApiVersion, dma_coherent, minimum, region_version, reset_version};

/// A command whose id and answer do not depend on the type of object.
pub trait Command: Layout {
    /// What the complex answers with.
    type Response: Layout;
    /// Its number.
    const ID: CommandId;
    /// It changes nothing, so that it may be sent again when it is not known whether it was carried out.
    const READS: bool;
}

/// A command: its layout, number and answer.
macro_rules! command {
    ($request:ty => $response:ty, $id:expr, reads: $reads:literal) => {
        impl $crate::fsl_mc::spec::Command for $request {
            type Response = $response;
            const ID: $crate::fsl_mc::spec::CommandId = $id;
            const READS: bool = $reads;
        }
    };
}
use command;
