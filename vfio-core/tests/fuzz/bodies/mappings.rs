//! Maps and unmaps of a table of mappings, beside a list that is looked through from one end to the other.

use vfio_core::addr::{HostPhys, Iova};
use vfio_core::domain::{
    Access, DmaError, IovaRange, Limits, MapError, Mapping, Mappings, RangeError, SMALLEST, Split,
};

use super::input::Input;

/// Addresses as numbers that hold one more than the last of them.
fn ends(mapping: &Mapping) -> (u128, u128) {
    let start = u128::from(mapping.iova.0);
    (start, start + u128::from(mapping.size))
}

/// A page near the bottom or the top of the address space, seldom an address that is no page's, or any number.
fn address(input: &mut Input<'_>) -> u64 {
    let (kind, page) = (input.u8(), u64::from(input.u8()));
    match kind % 8 {
        0..=3 => page % 32 * SMALLEST,
        4 | 5 => u64::MAX - (page % 32 * SMALLEST + SMALLEST - 1),
        6 => page,
        _ => (page << 56) | u64::from(input.u16()) << 12,
    }
}

fn size(input: &mut Input<'_>) -> u64 {
    let pages = u64::from(input.u8());
    match pages {
        0..=0xdf => pages % 8 * SMALLEST,
        0xe0..=0xef => pages,
        _ => u64::MAX << (pages & 0xf) << 12,
    }
}

/// What is asked of the list, in the order of the checks.
fn expected(model: &[Mapping], limit: usize, new: &Mapping) -> Result<(), &'static str> {
    let (start, end) = ends(new);
    if new.access.is_empty() {
        Err("no access")
    } else if new.size == 0 {
        Err("empty")
    } else if end > 1 << 64 {
        Err("wraps")
    } else if !(new.iova.0 | new.host.0 | new.size).is_multiple_of(SMALLEST) {
        Err("unaligned")
    } else if u128::from(new.host.0) + u128::from(new.size) > 1 << 64 {
        Err("host wraps")
    } else if model.iter().any(|old| ends(old).0 < end && start < ends(old).1) {
        Err("overlap")
    } else if model.len() >= limit {
        Err("full")
    } else {
        Ok(())
    }
}

fn name(error: &MapError) -> &'static str {
    match error {
        MapError::NoAccess(_) => "no access",
        MapError::Range(RangeError::Empty(_)) => "empty",
        MapError::Range(RangeError::Wraps { .. }) => "wraps",
        MapError::Unaligned { .. } => "unaligned",
        MapError::HostWraps { .. } => "host wraps",
        MapError::Overlap { .. } => "overlap",
        MapError::Full { .. } => "full",
        MapError::Reserved { .. } | MapError::NotAllowed { .. } => "without units there are no limits",
    }
}

/// The first byte is the limit; then a byte for what to do, and its addresses and sizes.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = usize::from(input.u8() % 16);
    let (mut mappings, limits) = (Mappings::new(limit), Limits::default());
    let mut model: Vec<Mapping> = Vec::new();
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        match input.u8() % 4 {
            0 | 1 => map(&mut input, &mut mappings, &limits, &mut model, limit),
            2 => unmap(&mut input, &mut mappings, &limits, &mut model),
            _ => unmap_all(&mut input, &mut mappings, &mut model),
        }
        compare(&mappings, &model);
    }
}

fn map(
    input: &mut Input<'_>,
    mappings: &mut Mappings,
    limits: &Limits,
    model: &mut Vec<Mapping>,
    limit: usize,
) {
    let new = Mapping {
        iova: Iova(address(input)),
        host: HostPhys(address(input)),
        size: size(input),
        access: Access::from_bits_truncate(input.u8()),
    };
    let result = mappings.map(new, limits);
    assert_eq!(
        result.as_ref().map_err(name).copied(),
        expected(model, limit, &new),
        "{new:?}"
    );
    match result {
        Ok(()) => model.push(new),
        // A place that an error offers is one.
        Err(MapError::Overlap { free: Some(free), .. }) if model.len() < limit => {
            let there = Mapping { iova: free, ..new };
            assert_eq!(mappings.check(&there, limits).map(drop), Ok(()));
        }
        Err(_) => {}
    }
}

fn unmap(input: &mut Input<'_>, mappings: &mut Mappings, limits: &Limits, model: &mut Vec<Mapping>) {
    let (start, size) = (address(input), size(input));
    let (first, end) = (u128::from(start), u128::from(start) + u128::from(size));
    let inside = |old: &Mapping| first <= ends(old).0 && ends(old).1 <= end;
    let meets = |old: &Mapping| ends(old).0 < end && first < ends(old).1;
    match mappings.plan_unmap_at(Iova(start), size, limits) {
        Err(Split::Range(_)) => assert!(size == 0 || end > 1 << 64),
        Err(Split::Unaligned { .. }) => assert!(!(start | size).is_multiple_of(SMALLEST)),
        Err(Split::Mapping { whole, .. }) => {
            assert!(model.iter().any(|old| meets(old) && !inside(old)));
            // What an error says to unmap instead splits nothing.
            assert!(mappings.plan_unmap(whole).is_ok());
        }
        Ok(plan) => {
            assert!(model.iter().all(|old| inside(old) || !meets(old)));
            let bytes: u128 = model
                .iter()
                .filter(|old| inside(old))
                .map(|old| u128::from(old.size))
                .sum();
            assert_eq!(u128::from(mappings.unmap(plan)), bytes.min(u64::MAX.into()));
            model.retain(|old| !inside(old));
        }
    }
}

/// Everything; seldom, since it leaves little to go on with.
fn unmap_all(input: &mut Input<'_>, mappings: &mut Mappings, model: &mut Vec<Mapping>) {
    if !input.u8().is_multiple_of(8) {
        return;
    }
    let plan = mappings.plan_unmap(IovaRange::ALL);
    let Ok(plan) = plan else {
        panic!("everything splits nothing: {plan:?}")
    };
    mappings.unmap(plan);
    model.clear();
}

fn compare(mappings: &Mappings, model: &[Mapping]) {
    let mut sorted = model.to_vec();
    sorted.sort_unstable_by_key(|mapping| mapping.iova);
    assert_eq!(mappings.iter().collect::<Vec<_>>(), sorted);
    for mapping in &sorted {
        let last = mapping.last().unwrap_or(mapping.iova);
        for at in [mapping.iova, last] {
            assert_eq!(mappings.find(at), Some(*mapping));
            let piece = mappings.piece(at, u64::MAX, mapping.access);
            let left = mapping.size - (at.0 - mapping.iova.0);
            assert_eq!(piece.ok(), mapping.host_of(at).map(|host| (host, left)));
        }
        let around = [mapping.iova.0.checked_sub(1), last.0.checked_add(1)];
        for at in around.into_iter().flatten().map(Iova) {
            let there = sorted.iter().find(|other| other.host_of(at).is_some());
            assert_eq!(mappings.find(at), there.copied());
            if there.is_none() {
                assert_eq!(mappings.piece(at, 1, Access::READ), Err(DmaError::NotMapped(at)));
            }
        }
    }
}
