//! AMD SVM: enters a guest, saves what the processor leaves, and decodes why it left.
//!
//! AMD64 Architecture Programmer's Manual, volume 2, chapter 15. Only this module knows of VMCBs; all that
//! is done about an exit is vendor-neutral and lives elsewhere.

mod decode;
mod permission;
mod state;

#[cfg(target_os = "none")]
mod enter;
#[cfg(target_os = "none")]
mod host;

pub use permission::{IoPermissions, MsrPermissions};
pub use state::{EntryState, SvmVcpu};

#[cfg(target_os = "none")]
pub use host::{Features, SvmError, enable};
