//! VT-d units (Intel Virtualization Technology for Directed I/O, revision 4.1): registers, and the structures in memory
//! beside the tables of pages, which are in `second_level`.

pub mod context;
pub mod fault;
pub mod interrupt;
pub mod queue;
pub mod register;
