//! fsl-mc: objects of an NXP Management Complex, which are opened by whole containers.

mod id;
pub mod portal;
pub mod scan;
pub mod spec;

pub use id::{ObjectId, ObjectType};
