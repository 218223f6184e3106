//! What comes after a guest's end: another life, or nothing. Decided on the boot CPU when all of the guest's CPUs have left it.

use cohort_abi::bundle::OnExit;
use cohort_abi::end::EndReason;

/// What comes after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The guest is started again.
    Again {
        /// Which restart that is, from 1.
        number: u32,
        /// How many there may be.
        of: u32,
    },
    /// It is over.
    Over(Over),
}

/// Why a guest is not started again, as the end of a sentence about how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// It is done: it said success, turned its power off, ran out of time, or cannot be run.
    #[error("")]
    Done,
    /// The configuration says that it stops.
    #[error("")]
    Stops,
    /// The same of a guest that wanted to be started again.
    #[error("; it is not started again, since on-exit is \"stop\"")]
    StopsOnReset,
    /// It was started again as often as it may be.
    #[error("; it is not started again: {0} of {0} restarts are used up")]
    UsedUp(u32),
    /// The run is over.
    #[error("; it is not started again: the deadline has passed")]
    Deadline,
}

/// What comes after an end by `reason`, for a guest that was started again `before` times. `late` says that the run's deadline
/// has passed.
#[must_use]
pub const fn next(on_exit: OnExit, reason: EndReason, before: u32, late: bool) -> Next {
    let wants = match reason {
        EndReason::Success | EndReason::PowerOff | EndReason::Deadline | EndReason::Hypervisor => {
            return Next::Over(Over::Done);
        }
        EndReason::Reset(_) => true,
        EndReason::Failure | EndReason::Panic | EndReason::Fault(_) => false,
    };
    match on_exit {
        OnExit::Stop if wants => Next::Over(Over::StopsOnReset),
        OnExit::Stop => Next::Over(Over::Stops),
        OnExit::Restart { .. } if late => Next::Over(Over::Deadline),
        OnExit::Restart { times } if before >= times => Next::Over(Over::UsedUp(times)),
        OnExit::Restart { times } => Next::Again {
            number: before + 1,
            of: times,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cohort_abi::end::{FaultKind, ResetBy};

    const DONE: [EndReason; 4] = [
        EndReason::Success,
        EndReason::PowerOff,
        EndReason::Deadline,
        EndReason::Hypervisor,
    ];
    const AGAIN: [EndReason; 6] = [
        EndReason::Failure,
        EndReason::Panic,
        EndReason::Reset(ResetBy::Register),
        EndReason::Reset(ResetBy::Keyboard),
        EndReason::Fault(FaultKind::TripleFault),
        EndReason::Fault(FaultKind::DeniedMsr),
    ];

    #[test]
    fn who_is_done_is_not_started_again_whatever_the_configuration_says() {
        for on_exit in [OnExit::Stop, OnExit::Restart { times: 7 }] {
            for reason in DONE {
                assert_eq!(next(on_exit, reason, 0, false), Next::Over(Over::Done));
            }
        }
    }

    #[test]
    fn restarts_are_counted_and_bounded() {
        let on_exit = OnExit::Restart { times: 3 };
        for reason in AGAIN {
            for before in 0..3 {
                let again = Next::Again {
                    number: before + 1,
                    of: 3,
                };
                assert_eq!(next(on_exit, reason, before, false), again);
                assert_eq!(next(on_exit, reason, before, true), Next::Over(Over::Deadline));
            }
            for before in [3, 4, u32::MAX] {
                assert_eq!(next(on_exit, reason, before, false), Next::Over(Over::UsedUp(3)));
            }
        }
        let most = OnExit::Restart { times: u32::MAX };
        assert_eq!(
            next(most, AGAIN[0], u32::MAX, false),
            Next::Over(Over::UsedUp(u32::MAX))
        );
    }

    #[test]
    fn a_guest_that_stops_is_told_of_only_where_it_wanted_something_else() {
        let said = |reason| match next(OnExit::Stop, reason, 0, false) {
            Next::Over(over) => over.to_string(),
            Next::Again { .. } => panic!("it stops"),
        };
        assert!(said(EndReason::Reset(ResetBy::Register)).contains("not started again"));
        assert_eq!(said(EndReason::Fault(FaultKind::Memory)), "");
        assert_eq!(said(EndReason::Failure), "");
    }
}
