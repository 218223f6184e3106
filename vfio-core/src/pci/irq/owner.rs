//! What an owner asks of a function's interrupts: set up, signalled, masked, taken away (VFIO's `SET_IRQS`).

use super::{Held, Intx, Line, Message};
use crate::device::{IrqAction, IrqError, IrqFlags, IrqInfo, IrqRange, IrqRequest};
use crate::fault::Fault;
use crate::pci::config::Function;
use crate::pci::quirk::Quirks;
use alloc::vec::Vec;

/// Indices of a PCI function's interrupts.
pub mod index {
    /// INTx.
    pub const INTX: u32 = 0;
    /// MSI.
    pub const MSI: u32 = 1;
    /// MSI-X.
    pub const MSIX: u32 = 2;
    /// An error that the function reports.
    pub const ERROR: u32 = 3;
    /// The device is asked back.
    pub const REQUEST: u32 = 4;
}

/// The kinds of which one can be in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqKind {
    /// A level.
    Intx,
    /// Messages, programmed in configuration space.
    Msi,
    /// Messages, programmed in a BAR.
    MsiX,
}

impl IrqKind {
    const fn of(index: u32) -> Option<Self> {
        match index {
            index::INTX => Some(Self::Intx),
            index::MSI => Some(Self::Msi),
            index::MSIX => Some(Self::MsiX),
            _ => None,
        }
    }

    /// Its [index].
    #[must_use]
    pub const fn index(self) -> u32 {
        match self {
            Self::Intx => index::INTX,
            Self::Msi => index::MSI,
            Self::MsiX => index::MSIX,
        }
    }
}

/// The hardware behind one function's interrupts, and the sink.
pub trait IrqBackend {
    /// Gets ready for `count` vectors of a kind, all of them silent, and turns the kind on. Where some are there already, adds to
    /// them. Returns how many there can be; if these are fewer than `count`, nothing is changed.
    ///
    /// # Errors
    /// [`Fault`]; nothing is changed then.
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault>;

    /// Turns the kind off and gives all its vectors back. Cannot fail: what does not obey is the owner's until it is reset.
    fn free(&mut self, kind: IrqKind);

    /// Programs a vector so that it arrives. For one that does already, programs it again, since a reset may have cleared it or its
    /// guest wants something else. `message` is what a guest wants to have sent for it; `None` if its owner set the vector up itself.
    ///
    /// # Errors
    /// [`Fault`]; the vector is silent then.
    fn connect(&mut self, kind: IrqKind, vector: u32, message: Option<Message>) -> Result<(), Fault>;

    /// Makes a vector silent.
    fn disconnect(&mut self, kind: IrqKind, vector: u32);

    /// Holds INTx back, or lets it through.
    fn hold_line(&mut self, held: bool);

    /// Whether the function raises INTx now.
    fn line_asserted(&mut self) -> bool;

    /// Signals the sink, as if the device had.
    fn signal(&mut self, index: u32, number: u32);
}

/// The interrupts of one function.
#[derive(Clone, Debug)]
pub struct Irqs {
    intx: u32,
    msi: u32,
    msix: u32,
    errors: u32,
    grows: bool,
    active: Option<IrqKind>,
    /// Of the active kind: which vectors have a sink.
    sinks: Vec<bool>,
    line: Intx,
    /// Sinks of errors and of requests.
    error: bool,
    request: bool,
}

impl Irqs {
    /// The interrupts that `function` has. `line` says whether INTx can be routed to an owner; it is not shown otherwise, nor where
    /// the device cannot hold it back. `grows` says whether MSI-X vectors can be added while some are in use.
    #[must_use]
    pub fn new(function: &Function, line: bool, grows: bool) -> Self {
        let broken = Quirks::of(function).intx_is_broken();
        let vectors = |found: Option<u16>| usize::from(found.unwrap_or(0));
        let most = vectors(function.msi.map(|found| found.vectors.into()))
            .max(vectors(function.msix.map(|found| found.vectors)))
            .max(1);
        Self {
            intx: (line && !broken && function.interrupt_pin != 0).into(),
            msi: function.msi.map_or(0, |found| found.vectors.into()),
            msix: function.msix.map_or(0, |found| found.vectors.into()),
            errors: function.express.is_some().into(),
            grows,
            active: None,
            // Nothing is allocated once a guest runs.
            sinks: Vec::with_capacity(most),
            line: Intx::default(),
            error: false,
            request: false,
        }
    }

    /// What there is at `index`; `None` beyond the last one.
    #[must_use]
    pub fn info(&self, index: u32) -> Option<IrqInfo> {
        let fixed = IrqFlags::SIGNAL | IrqFlags::FIXED_COUNT;
        let (count, flags) = match index {
            index::INTX => (
                self.intx,
                IrqFlags::SIGNAL | IrqFlags::MASKABLE | IrqFlags::AUTOMASKED,
            ),
            index::MSI => (self.msi, fixed),
            index::MSIX if self.grows => (self.msix, IrqFlags::SIGNAL),
            index::MSIX => (self.msix, fixed),
            index::ERROR => (self.errors, fixed),
            index::REQUEST => (1, fixed),
            _ => return None,
        };
        Some(IrqInfo { count, flags })
    }

    /// The kind in use.
    #[must_use]
    pub const fn active(&self) -> Option<IrqKind> {
        self.active
    }

    /// How many vectors of the active kind there are; what limits a guest's MSI.
    #[must_use]
    pub fn allocated(&self) -> u32 {
        self.sinks.len() as u32
    }

    /// Whether `vector` of the active kind has a sink.
    #[must_use]
    pub fn has_sink(&self, vector: u32) -> bool {
        let at = usize::try_from(vector).ok();
        at.and_then(|at| self.sinks.get(at)).copied().unwrap_or(false)
    }

    /// Why INTx is held back.
    #[must_use]
    pub const fn line(&self) -> Intx {
        self.line
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// [`IrqError`]; everything is as before then, except that a vector that was to be programmed once more and refused is silent.
    pub fn set<B: IrqBackend>(&mut self, request: &IrqRequest<'_>, backend: &mut B) -> Result<(), IrqError> {
        request.check(self.info(request.index))?;
        let Some(kind) = IrqKind::of(request.index) else {
            self.set_event(request, backend);
            return Ok(());
        };
        if let Some(other) = self.active.filter(|active| *active != kind) {
            return Err(IrqError::OtherInUse(other.index()));
        }
        let range = request.range;
        match request.action {
            IrqAction::Signal(sinks) => self.connect(kind, range, sinks, backend),
            IrqAction::Disable => {
                self.release(backend);
                Ok(())
            }
            IrqAction::Trigger => {
                let sinks = self.inside(range)?;
                for (number, _) in (range.start..).zip(sinks).filter(|(_, sink)| **sink) {
                    backend.signal(request.index, number);
                }
                Ok(())
            }
            IrqAction::Mask => {
                self.inside(range)?;
                let line = self.line.hold(Held::MASKED);
                self.carry_out(line, backend);
                Ok(())
            }
            IrqAction::Unmask => {
                self.inside(range)?;
                let line = self
                    .line
                    .release(Held::MASKED | Held::CAME, || backend.line_asserted());
                self.carry_out(line, backend);
                Ok(())
            }
        }
    }

    /// A guest turns MSI or MSI-X on: gets `count` vectors, all of them silent until they are [routed](Self::route). Allocates no memory.
    ///
    /// # Errors
    /// [`IrqError`]: another kind is in use, or there are not so many. Nothing has changed then.
    pub fn start<B: IrqBackend>(
        &mut self,
        kind: IrqKind,
        count: u32,
        backend: &mut B,
    ) -> Result<(), IrqError> {
        let range = IrqRange { start: 0, count };
        if let Some(active) = self.active {
            return Err(IrqError::OtherInUse(active.index()));
        }
        let most = self.info(kind.index()).map_or(0, |info| info.count);
        if count > most {
            return Err(IrqError::Outside {
                start: range.start,
                count,
                available: most,
            });
        }
        let available = backend.allocate(kind, count)?;
        if available < count {
            return Err(IrqError::Fewer(available));
        }
        self.sinks.resize(count as usize, false);
        self.active = Some(kind);
        Ok(())
    }

    /// A guest programs one vector of the active kind: what it sends from now on, `None` for nothing. A vector that there is not is
    /// left alone. Allocates no memory.
    ///
    /// # Errors
    /// The vector could not be had, and is silent.
    pub fn route<B: IrqBackend>(
        &mut self,
        vector: u32,
        message: Option<Message>,
        backend: &mut B,
    ) -> Result<(), Fault> {
        let at = usize::try_from(vector).ok();
        let sink = at.and_then(|at| self.sinks.get_mut(at));
        let (Some(kind), Some(sink)) = (self.active, sink) else {
            return Ok(());
        };
        if message.is_some() {
            let connected = backend.connect(kind, vector, message);
            *sink = connected.is_ok();
            return connected;
        }
        if core::mem::take(sink) {
            backend.disconnect(kind, vector);
        }
        Ok(())
    }

    /// The guest set or cleared INTX_DISABLE.
    pub fn line_disabled<B: IrqBackend>(&mut self, disabled: bool, backend: &mut B) {
        let line = if disabled {
            self.line.hold(Held::DISABLED)
        } else {
            self.line.release(Held::DISABLED, || backend.line_asserted())
        };
        self.carry_out(line, backend);
    }

    /// An interrupt arrived from the hardware. Whether it was one of this function's.
    pub fn arrived<B: IrqBackend>(&mut self, kind: IrqKind, vector: u32, backend: &mut B) -> bool {
        if self.active != Some(kind) {
            return false;
        }
        if kind == IrqKind::Intx {
            let asserted = backend.line_asserted();
            let line = self.line.came(asserted);
            self.carry_out(line, backend);
            return asserted;
        }
        let known = usize::try_from(vector)
            .ok()
            .and_then(|at| self.sinks.get(at))
            .copied();
        if known == Some(true) {
            backend.signal(kind.index(), vector);
        }
        known.is_some()
    }

    /// An error was reported, or the device is asked back ([`index::ERROR`], [`index::REQUEST`]). Whether anybody was told.
    pub fn event<B: IrqBackend>(&self, index: u32, backend: &mut B) -> bool {
        let sink = match index {
            index::ERROR => self.error,
            index::REQUEST => self.request,
            _ => false,
        };
        if sink {
            backend.signal(index, 0);
        }
        sink
    }

    /// Takes the active kind away: the last close, or a request. Sinks of errors and requests stay.
    pub fn release<B: IrqBackend>(&mut self, backend: &mut B) {
        let Some(kind) = self.active else { return };
        if kind == IrqKind::Intx {
            let line = self.line.hold(Held::UNUSED);
            self.carry_out(line, backend);
            // The guest's own bit outlives what the owner set up. Nothing changes for the hardware: it is held back already.
            let _ = self.line.release(Held::MASKED | Held::CAME, || false);
        }
        self.active = None;
        for (vector, _) in (0..).zip(&self.sinks).filter(|(_, sink)| **sink) {
            backend.disconnect(kind, vector);
        }
        self.sinks.clear();
        backend.free(kind);
    }

    /// Sets up anew what is set up of MSI or MSI-X: after a reset that the hardware has come out of without its vectors. `message` says
    /// what a guest wants of each. Allocates no memory.
    ///
    /// # Errors
    /// [`IrqError`]; the kind is not in use any more.
    pub fn again<B: IrqBackend>(
        &mut self,
        message: &dyn Fn(u32) -> Option<Message>,
        backend: &mut B,
    ) -> Result<(), IrqError> {
        let Some(kind) = self.active.filter(|kind| *kind != IrqKind::Intx) else {
            return Ok(());
        };
        let count = self.allocated();
        for (vector, _) in (0..).zip(&self.sinks).filter(|(_, sink)| **sink) {
            backend.disconnect(kind, vector);
        }
        backend.free(kind);
        match backend.allocate(kind, count) {
            Ok(available) if available >= count => {}
            result => {
                self.active = None;
                self.sinks.clear();
                return Err(result.map_or_else(IrqError::Fault, IrqError::Fewer));
            }
        }
        let mut result = Ok(());
        for (vector, sink) in (0..).zip(&mut self.sinks).filter(|(_, sink)| **sink) {
            if result.is_ok() {
                result = backend.connect(kind, vector, message(vector));
            }
            // What was not tried any more is silent already.
            *sink = result.is_ok();
        }
        if result.is_err() {
            self.release(backend);
        }
        Ok(result?)
    }

    /// The last close: nobody is told of anything any more.
    pub fn close<B: IrqBackend>(&mut self, backend: &mut B) {
        self.release(backend);
        (self.error, self.request) = (false, false);
        self.line = Intx::default();
    }

    fn set_event<B: IrqBackend>(&mut self, request: &IrqRequest<'_>, backend: &mut B) {
        let sink = if request.index == index::ERROR {
            &mut self.error
        } else {
            &mut self.request
        };
        match request.action {
            IrqAction::Signal(sinks) => *sink = sinks.first().copied().unwrap_or(false),
            IrqAction::Disable => *sink = false,
            IrqAction::Trigger if *sink => backend.signal(request.index, 0),
            // Neither can be masked, which `check` has said.
            IrqAction::Trigger | IrqAction::Mask | IrqAction::Unmask => {}
        }
    }

    fn connect<B: IrqBackend>(
        &mut self,
        kind: IrqKind,
        range: IrqRange,
        sinks: &[bool],
        backend: &mut B,
    ) -> Result<(), IrqError> {
        let end = range.start.saturating_add(range.count);
        let before = self.allocated();
        let first = self.active.is_none();
        if first || end > before && kind == IrqKind::MsiX && self.grows {
            let available = backend.allocate(kind, end)?;
            if available < end {
                return Err(IrqError::Fewer(available));
            }
        } else if end > before {
            return Err(self.outside(range));
        }
        let old = self.sinks.clone();
        let mut wanted = old.clone();
        wanted.resize(end.max(before) as usize, false);
        for (wanted, sink) in wanted.iter_mut().skip(range.start as usize).zip(sinks) {
            *wanted = *sink;
        }
        let had = |vector: u32| old.get(vector as usize).copied().unwrap_or(false);
        let chosen = |on: bool| {
            let sinks = sinks.iter().copied();
            (range.start..end)
                .zip(sinks)
                .filter(move |(_, sink)| *sink == on)
                .map(|(vector, _)| vector)
        };
        for vector in chosen(true) {
            if let Err(fault) = backend.connect(kind, vector, None) {
                for done in chosen(true)
                    .take_while(|done| *done < vector)
                    .filter(|done| !had(*done))
                {
                    backend.disconnect(kind, done);
                }
                if first {
                    backend.free(kind);
                }
                if had(vector)
                    && let Some(sink) = self.sinks.get_mut(vector as usize)
                {
                    *sink = false;
                }
                return Err(fault.into());
            }
        }
        for vector in chosen(false).filter(|vector| had(*vector)) {
            backend.disconnect(kind, vector);
        }
        self.sinks = wanted;
        self.active = Some(kind);
        if kind == IrqKind::Intx {
            let line = match sinks.first() {
                Some(true) => self.line.release(Held::UNUSED, || backend.line_asserted()),
                _ => self.line.hold(Held::UNUSED),
            };
            self.carry_out(line, backend);
        }
        Ok(())
    }

    fn carry_out<B: IrqBackend>(&self, line: Line, backend: &mut B) {
        // While nobody has asked for INTx, the hardware's is not ours.
        if self.active != Some(IrqKind::Intx) {
            return;
        }
        if let Some(held) = line.hold {
            backend.hold_line(held);
        }
        if line.signal {
            backend.signal(index::INTX, 0);
        }
    }

    fn inside(&self, range: IrqRange) -> Result<&[bool], IrqError> {
        let start = range.start as usize;
        let end = start.saturating_add(range.count as usize);
        self.sinks.get(start..end).ok_or(self.outside(range))
    }

    fn outside(&self, range: IrqRange) -> IrqError {
        IrqError::Outside {
            start: range.start,
            count: range.count,
            available: self.allocated(),
        }
    }
}
