//! fsl-mc: objects of an NXP Management Complex, which are opened by whole containers.

mod id;

pub use id::{ObjectId, ObjectType};
