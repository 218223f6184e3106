//! The list of one container, which may change while it is read.

use alloc::vec::Vec;

use super::MAX_OBJECTS;
use super::region::{Window, regions};
use super::tree::{ContainerProblem, Object, ObjectProblem, allocatable};
use crate::clock::Clock;
use crate::fsl_mc::ObjectId;
use crate::fsl_mc::portal::{PortalError, PortalRegisters, Session};
use crate::fsl_mc::spec::dprc::{GetObj, GetObjCount, Obj};
use crate::fsl_mc::spec::{ApiVersion, Text, minimum};
use crate::hash::Map;

/// How often a list is read that does not stay the same.
const LOOKS: u32 = 3;

/// The list of a container.
#[derive(Default)]
pub(super) struct List {
    pub(super) objects: Vec<Object>,
    pub(super) skipped: u32,
    unknown: Option<Text>,
    twice: Option<ObjectId>,
}

impl List {
    fn problem(&self) -> Option<ContainerProblem> {
        self.twice
            .map(ContainerProblem::Twice)
            .or_else(|| self.unknown.map(ContainerProblem::UnknownType))
            .or_else(|| (self.skipped > 0).then_some(ContainerProblem::Unlisted(self.skipped)))
    }
}

/// Reads the list of the container that is open, until two looks agree, and what is wrong with it.
///
/// # Errors
/// Only those of a portal that is out of use.
pub(super) fn list<R: PortalRegisters, C: Clock>(
    session: &mut Session<'_, R, C>,
    api: ApiVersion,
    windows: &[Window],
) -> Result<(List, Option<ContainerProblem>), PortalError> {
    let mut last = List::default();
    for _ in 0..LOOKS {
        let before = match count(session)? {
            Ok(count) if count > MAX_OBJECTS => {
                return Ok((List::default(), Some(ContainerProblem::TooManyObjects(count))));
            }
            Ok(count) => count,
            Err(problem) => return Ok((last, Some(problem))),
        };
        let found = entries(session, before, api, windows)?;
        let problem = found.problem();
        let stable = count(session)? == Ok(before) && found.twice.is_none();
        last = found;
        if stable {
            return Ok((last, problem));
        }
    }
    let problem = last.problem().unwrap_or(ContainerProblem::Unstable);
    Ok((last, Some(problem)))
}

type Checked<A> = Result<Result<A, ContainerProblem>, PortalError>;

fn count<R: PortalRegisters, C: Clock>(session: &mut Session<'_, R, C>) -> Checked<u32> {
    match session.send(&GetObjCount) {
        Ok(answer) => Ok(Ok(answer.count)),
        Err(error) if error.unknown_state() => Err(error),
        Err(error) => Ok(Err(ContainerProblem::Unreadable(error))),
    }
}

fn entries<R: PortalRegisters, C: Clock>(
    session: &mut Session<'_, R, C>,
    count: u32,
    api: ApiVersion,
    windows: &[Window],
) -> Result<List, PortalError> {
    let mut list = List::default();
    let mut seen: Map<ObjectId, ()> = Map::default();
    for index in 0..count {
        let entry = match session.send(&GetObj { index }) {
            Ok(entry) => entry,
            Err(error) if error.unknown_state() => return Err(error),
            Err(_) => {
                list.skipped += 1;
                continue;
            }
        };
        let Some(kind) = entry.kind.object_type() else {
            list.skipped += 1;
            list.unknown.get_or_insert(entry.kind);
            continue;
        };
        let id = ObjectId {
            kind,
            number: entry.number,
        };
        if seen.insert(id, ()).is_some() {
            list.twice.get_or_insert(id);
            continue;
        }
        list.objects.push(object(session, id, &entry, api, windows)?);
    }
    // Those that others need first; the order is otherwise the container's.
    list.objects.sort_by_key(|object| !allocatable(object.id.kind));
    Ok(list)
}

fn object<R: PortalRegisters, C: Clock>(
    session: &mut Session<'_, R, C>,
    id: ObjectId,
    entry: &Obj,
    api: ApiVersion,
    windows: &[Window],
) -> Result<Object, PortalError> {
    let version = ApiVersion::new(entry.major, entry.minor);
    let (regions, mut problem) = match regions(session, id, entry.region_count, api, windows)? {
        Ok(regions) => (regions, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    if let Some(needed) = minimum(id.kind).filter(|needed| version < *needed) {
        problem = Some(ObjectProblem::TooOld {
            found: version,
            needed,
        });
    }
    Ok(Object {
        id,
        container: session.object(),
        version,
        vendor: entry.vendor,
        state: entry.state,
        flags: entry.flags,
        irqs: entry.irq_count,
        regions,
        label: entry.label,
        problem,
    })
}
