//! Virtualisation hardware behind one vendor-neutral interface.
//!
//! A vendor module (`svm`) enters a guest, saves what the processor leaves, and decodes why it left into one
//! [`Exit`]; everything else works on [`Exit`] and [`VcpuState`] and never learns whose processor it runs on.
//! [`nested`] builds the tables that hold a guest's memory, for the vendors whose format is the processor's own.

mod exit;
pub mod gate;
pub mod nested;
pub mod svm;
mod vcpu;

pub use exit::{Exit, ExitKind, IoDirection, IoExit, NestedFault};
pub use vcpu::{
    CodeSegment, ContextMsr, Exception, Gpr, Gprs, InvalidMsrValue, LongEntry, RealEntry, Segment, VcpuState,
    cr0, cr4, efer, rflags,
};

#[cfg(test)]
pub(crate) use vcpu::fake;
