//! Partitions: a guest's CPUs, memory and cohorts, and how it is run on them.
//!
//! [`check`] and [`plan`] judge the configuration, which is untrusted, before anything is touched; `prepare` puts
//! the two together. `run` opens and watches on the boot CPU, `vcpu` runs one of a guest's on a CPU of its own, `mailbox` is between. [`life`]
//! decides what comes after a guest's end, `anew` begins its next life.

pub mod check;
pub mod life;
pub mod plan;

#[cfg(target_os = "none")]
mod anew;
#[cfg(target_os = "none")]
mod backend;
#[cfg(target_os = "none")]
mod backing;
#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod cpus;
#[cfg(target_os = "none")]
mod faults;
#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
mod holds;
#[cfg(target_os = "none")]
mod mailbox;
#[cfg(target_os = "none")]
mod prepare;
#[cfg(target_os = "none")]
mod routes;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod space;
#[cfg(target_os = "none")]
mod vcpu;

#[cfg(target_os = "none")]
pub use bench::bench;
#[cfg(target_os = "none")]
pub use prepare::{Ready, Run, prepare};
#[cfg(target_os = "none")]
pub use run::run;
#[cfg(target_os = "none")]
pub use vcpu::serve;

#[cfg(target_os = "none")]
use guest::Partition;

/// Where parcels wait for their CPUs, and the boot CPU for them.
#[cfg(target_os = "none")]
static MAILBOXES: mailbox::Mailboxes<vcpu::Parcel> = mailbox::Mailboxes::new();
