//! INTx: a level, held back from each time it comes until the guest has dealt with it (PCI Local Bus 3.0, section 2.2.6).
//!
//! A level that is still there when it is let through again would come at once, and again, and take the CPU. So it is held back
//! when it comes, and when it is let through it is first looked whether it is still there: then it is signalled once more, and
//! stays held back.

use bitflags::bitflags;

bitflags! {
    /// Why INTx is held back.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Held: u8 {
        /// The guest set INTX_DISABLE.
        const DISABLED = 1;
        /// The owner masked it.
        const MASKED = 1 << 1;
        /// It came, and was not unmasked since.
        const CAME = 1 << 2;
        /// Nobody listens.
        const UNUSED = 1 << 3;
    }
}

/// What is to be done with the hardware's line, then with the sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Hold the line back, or let it through; `None` leaves it.
    pub hold: Option<bool>,
    /// Signal the sink.
    pub signal: bool,
}

/// The line of one function. Nobody listens at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intx {
    held: Held,
}

impl Default for Intx {
    fn default() -> Self {
        Self { held: Held::UNUSED }
    }
}

impl Intx {
    /// Why it is held back; empty if it is not.
    #[must_use]
    pub const fn held(&self) -> Held {
        self.held
    }

    /// The function raised the line, or another that shares it did: `mine` says whether it was this one, by its status register.
    #[must_use]
    pub fn came(&mut self, mine: bool) -> Line {
        if !mine || !self.held.is_empty() {
            return Line::default();
        }
        self.held = Held::CAME;
        Line {
            hold: Some(true),
            signal: true,
        }
    }

    /// Holds it back for one more reason.
    #[must_use]
    pub fn hold(&mut self, why: Held) -> Line {
        let free = self.held.is_empty();
        self.held |= why;
        Line {
            hold: (free && !self.held.is_empty()).then_some(true),
            signal: false,
        }
    }

    /// Ends reasons for holding it back. `asserted` says whether the line is raised now; it is asked only if nothing else holds
    /// it.
    #[must_use]
    pub fn release(&mut self, why: Held, asserted: impl FnOnce() -> bool) -> Line {
        let before = self.held;
        self.held -= why;
        if before.is_empty() || !self.held.is_empty() {
            return Line::default();
        }
        if asserted() {
            self.held = Held::CAME;
            return Line {
                hold: None,
                signal: true,
            };
        }
        Line {
            hold: Some(false),
            signal: false,
        }
    }
}
