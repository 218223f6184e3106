//! Interrupts of a PCI function: what its guest programs, and what is set up in the hardware.
//!
//! Two halves that know nothing of each other:
//!
//! - [`MsixTable`], [`MsiVectors`] and [`Intx`] are what the guest programs. They say what follows for each vector, as
//!   [`VectorAction`]s and [`Line`]s. A [`Message`] is whatever the guest wrote; only the platform knows which of them reach a CPU.
//! - [`Irqs`] is what an owner asks for ([`IrqRequest`](crate::device::IrqRequest)), in the manner of VFIO: one of INTx, MSI and
//!   MSI-X is in use at a time. It drives an [`IrqBackend`], which touches the hardware.

mod intx;
mod msi;
mod msix;
mod owner;
#[cfg(test)]
mod tests;

pub use intx::{Held, Intx, Line};
pub use msi::{MsiRegisters, MsiVectors};
pub use msix::MsixTable;
pub use owner::{IrqBackend, IrqKind, Irqs, index};

/// A message-signalled interrupt as a guest programs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it is written.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// What follows for one vector from what the guest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorAction {
    /// From now on this vector sends the message. It may have sent another before.
    Connect {
        /// Which.
        vector: u16,
        /// What.
        message: Message,
    },
    /// This vector sends nothing: mask it.
    Disconnect {
        /// Which.
        vector: u16,
    },
    /// Send the message now: the vector was signalled while it was masked.
    Deliver {
        /// Which.
        vector: u16,
        /// What.
        message: Message,
    },
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// It is to be sent.
    Send(Message),
    /// The vector is masked; it is sent when that ends.
    Pending,
    /// There is no such vector, or all of them are off.
    Lost,
}

/// The actions between two states of a vector.
fn change(
    vector: u16,
    before: Option<Message>,
    after: Option<Message>,
    pending: bool,
    act: &mut dyn FnMut(VectorAction),
) -> bool {
    match (before, after) {
        (before, after) if before == after => return false,
        (_, Some(message)) => act(VectorAction::Connect { vector, message }),
        (_, None) => act(VectorAction::Disconnect { vector }),
    }
    match after {
        Some(message) if pending => {
            act(VectorAction::Deliver { vector, message });
            true
        }
        _ => false,
    }
}
