//! Commands for interrupts, which all types of objects share.

use super::frame::{Nothing, layout};
use super::{command, id};

layout! {
    /// Sets where an interrupt goes: a write of `value` to `address`.
    SetIrq {
        /// What is written.
        8 value: u32,
        /// Which of the object's interrupts.
        12 index: u8,
        /// Where it is written.
        16 address: u64,
        /// The sender's own number for it.
        24 number: u32,
    }
}
command!(SetIrq => Nothing, id::SET_IRQ, reads: false);

layout! {
    /// Turns an interrupt on or off.
    SetIrqEnable {
        /// On.
        8 enable: bool,
        /// Which of the object's interrupts.
        12 index: u8,
    }
}
command!(SetIrqEnable => Nothing, id::SET_IRQ_ENABLE, reads: false);

layout! {
    /// Asks whether an interrupt is on.
    GetIrqEnable {
        /// Which of the object's interrupts.
        12 index: u8,
    }
}

layout! {
    /// Whether an interrupt is on.
    IrqEnable {
        /// On.
        8 enable: bool,
    }
}
command!(GetIrqEnable => IrqEnable, id::GET_IRQ_ENABLE, reads: true);

layout! {
    /// Chooses the events that raise an interrupt.
    SetIrqMask {
        /// A bit for each.
        8 mask: u32,
        /// Which of the object's interrupts.
        12 index: u8,
    }
}
command!(SetIrqMask => Nothing, id::SET_IRQ_MASK, reads: false);

layout! {
    /// Asks for the events that raise an interrupt.
    GetIrqMask {
        /// Which of the object's interrupts.
        12 index: u8,
    }
}

layout! {
    /// The events that raise an interrupt.
    IrqMask {
        /// A bit for each.
        8 mask: u32,
    }
}
command!(GetIrqMask => IrqMask, id::GET_IRQ_MASK, reads: true);

layout! {
    /// Asks for the events that happened.
    GetIrqStatus {
        /// What the answer starts from: 0.
        8 status: u32,
        /// Which of the object's interrupts.
        12 index: u8,
    }
}

layout! {
    /// The events that happened.
    IrqStatus {
        /// A bit for each.
        8 status: u32,
    }
}
command!(GetIrqStatus => IrqStatus, id::GET_IRQ_STATUS, reads: true);

layout! {
    /// Forgets events that happened.
    ClearIrqStatus {
        /// The bits to clear.
        8 status: u32,
        /// Which of the object's interrupts.
        12 index: u8,
    }
}
command!(ClearIrqStatus => Nothing, id::CLEAR_IRQ_STATUS, reads: false);
