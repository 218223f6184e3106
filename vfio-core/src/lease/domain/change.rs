//! Mapping and unmapping, in every unit that has a requester of the domain attached.

use super::state::Turn;
use super::{Domain, MapFailure, UnmapFailure};
use crate::addr::Iova;
use crate::domain::{IovaRange, Limits, MOST_AT_ONCE, Mapping, Mappings, Split, UnitId, UnmapPlan};
use crate::fault::Fault;
use crate::lease::Platform;

/// How often mediated devices are told to unpin before an unmap is given up.
const TELL: u32 = 10;

impl<P: Platform> Domain<'_, P> {
    /// Maps one piece of memory, also while leases are open.
    ///
    /// # Errors
    /// [`MapFailure`] says what is in the way, or what failed. Unless it is [`MapFailure::Poisoned`], nothing is mapped.
    pub fn map(&self, mapping: Mapping) -> Result<(), MapFailure> {
        let turn = Turn::take(&self.0.shared).ok_or(MapFailure::Busy)?;
        let (range, mut next) = {
            let state = turn.state();
            (
                state.mappings.check(&mapping, &state.limits)?,
                state.unit_after(None),
            )
        };
        while let Some(unit) = next {
            if let Err(fault) = self.platform().map(unit, self.0.id, mapping) {
                return Err(self.take_back(&turn, mapping, range, unit, fault));
            }
            next = turn.state().unit_after(Some(unit));
        }
        turn.state().mappings.insert(&mapping, range, false);
        Ok(())
    }

    /// Unmaps what lies in `size` bytes at `start`, and says how many bytes that was: none is fine. When this is `Ok`, no
    /// device reaches that memory any more, and it may be used for something else.
    ///
    /// # Errors
    /// [`UnmapFailure`]; nothing counts as unmapped.
    pub fn unmap(&self, start: Iova, size: u64) -> Result<u64, UnmapFailure> {
        self.unmap_planned(|mappings, limits| mappings.plan_unmap_at(start, size, limits))
    }

    /// Unmaps everything.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    pub fn unmap_all(&self) -> Result<u64, UnmapFailure> {
        self.unmap_planned(|mappings, _| mappings.plan_unmap(IovaRange::ALL))
    }

    fn unmap_planned(
        &self,
        plan: impl FnOnce(&Mappings, &Limits) -> Result<UnmapPlan, Split>,
    ) -> Result<u64, UnmapFailure> {
        let turn = Turn::take(&self.0.shared).ok_or(UnmapFailure::Busy)?;
        let (mut plan, range, pinned) = {
            let mut state = turn.state();
            let plan = plan(&state.mappings, &state.limits)?;
            let Some(range) = plan.span() else {
                return Ok(0);
            };
            state.unmapping = Some(range);
            (plan, range, state.pins.first_in(range).is_some())
        };
        if pinned {
            free_of_pins(&turn, range)?;
        }
        if let Err((unit, fault)) = self.unmap_in_units(&turn, range) {
            turn.state().mappings.poison(plan);
            return Err(UnmapFailure::Poisoned { range, unit, fault });
        }
        let mut bytes = 0u64;
        while plan.span().is_some() {
            // In portions: the lock keeps software from reading meanwhile.
            let removed = turn.state().mappings.unmap_some(&mut plan, MOST_AT_ONCE as usize);
            bytes = bytes.saturating_add(removed);
        }
        Ok(bytes)
    }

    /// Unmaps in all units, also after one has failed: the less devices reach the better. The first failure counts.
    fn unmap_in_units(&self, turn: &Turn<'_>, range: IovaRange) -> Result<(), (UnitId, Fault)> {
        let mut result = Ok(());
        let mut next = turn.state().unit_after(None);
        while let Some(unit) = next {
            let done = self.platform().unmap(unit, self.0.id, range);
            result = result.and(done.map_err(|fault| (unit, fault)));
            next = turn.state().unit_after(Some(unit));
        }
        result
    }

    /// After a map that failed in `unit`: what became of it there is not known either, so that it is unmapped there too.
    fn take_back(
        &self,
        turn: &Turn<'_>,
        mapping: Mapping,
        range: IovaRange,
        unit: UnitId,
        fault: Fault,
    ) -> MapFailure {
        match self.unmap_in_units(turn, range) {
            Ok(()) => MapFailure::Fault { mapping, unit, fault },
            Err((_, undo)) => {
                turn.state().mappings.insert(&mapping, range, true);
                MapFailure::Poisoned {
                    mapping,
                    unit,
                    fault,
                    undo,
                }
            }
        }
    }

    pub(super) fn platform(&self) -> &P {
        self.0.table.platform()
    }
}

/// Tells the mediated devices that have pages of `range` pinned to let go of them; no lock is held while they do.
fn free_of_pins(turn: &Turn<'_>, range: IovaRange) -> Result<(), UnmapFailure> {
    for _ in 0..TELL {
        let devices = turn.state().pins.devices_in(range);
        if devices.is_empty() {
            return Ok(());
        }
        for device in devices {
            let listener = turn.state().listeners.get(&device).cloned();
            if let Some(listener) = listener {
                listener.unmapping(turn.shared(), device, range);
            }
        }
    }
    match turn.state().pins.first_in(range) {
        None => Ok(()),
        Some((page, device)) => Err(UnmapFailure::Pinned {
            device,
            page,
            range,
            told: TELL,
        }),
    }
}
