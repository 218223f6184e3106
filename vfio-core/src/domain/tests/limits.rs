//! Apertures, reserved regions and granules of several units together.

use super::*;

fn reserved(first: u64, last: u64) -> ReservedRegion {
    ReservedRegion {
        kind: ReservedKind::Msi,
        range: pages(first, last),
    }
}

fn unit(page_sizes: u64, apertures: &[IovaRange]) -> UnitLimits {
    UnitLimits {
        page_sizes,
        apertures: apertures.to_vec(),
    }
}

#[test]
fn a_mapping_is_inside_one_allowed_range() {
    let mut limits = Limits::default();
    limits.add_unit(&unit(!0xfff, &[pages(0, 99), pages(200, 299)]));
    limits.add_reserved(requester(1), reserved(40, 49));
    assert_eq!(limits.allowed(), [pages(0, 39), pages(50, 99), pages(200, 299)]);
    let mappings = Mappings::default();
    assert!(mappings.check(&map(0, 40), &limits).is_ok());
    assert!(mappings.check(&map(50, 50), &limits).is_ok());
    let over = mappings.check(&map(39, 2), &limits).unwrap_err();
    let region = reserved(40, 49);
    assert!(
        matches!(over, MapError::Reserved { requester: r, region: g, free: Some(Iova(0x32000)), .. }
            if r == requester(1) && g == region),
        "{over}"
    );
    assert_eq!(
        over.to_string(),
        "0x27000 to 0x28fff meets the interrupt region 0x28000 to 0x31fff of 0000:01:01.0; \
         as many bytes are free at 0x32000"
    );
    let across = mappings.check(&map(99, 2), &limits).unwrap_err();
    assert_eq!(
        across.to_string(),
        "0x63000 to 0x64fff is not inside one of the allowed ranges; the nearest is 0x32000 to 0x63fff"
    );
    let between = mappings.check(&map(120, 1), &limits).unwrap_err();
    let nearest = Some(pages(200, 299));
    assert_eq!(
        between,
        MapError::NotAllowed {
            wanted: pages(120, 120),
            nearest
        }
    );
    let above = mappings.check(&map(1000, 1), &limits).unwrap_err();
    assert_eq!(
        above,
        MapError::NotAllowed {
            wanted: pages(1000, 1000),
            nearest
        }
    );
    let gaps: Vec<_> = limits.gaps().collect();
    let high = IovaRange::inclusive(Iova(300 * PAGE), Iova(u64::MAX)).unwrap();
    assert_eq!(gaps, [pages(40, 49), pages(100, 199), high]);
}

#[test]
fn units_are_intersected() {
    assert_eq!(UnitLimits::any(), unit(!0xfff, &[IovaRange::ALL]));
    let mut limits = Limits::default();
    limits.add_unit(&unit(0x1000, &[pages(0, 99), pages(100, 199)]));
    assert_eq!(limits.allowed(), [pages(0, 199)], "side by side is one");
    limits.add_unit(&unit(0x1_0000, &[pages(10, 20), pages(190, 500)]));
    assert_eq!(limits.allowed(), [pages(10, 20), pages(190, 199)]);
    assert_eq!(limits.granule(), 0x1_0000);
    limits.add_unit(&unit(0x20_1000, &[IovaRange::ALL]));
    assert_eq!(limits.granule(), 0x1_0000);
    // A unit with pages of 512 bytes does not make pages smaller than the host's.
    let mut small = Limits::default();
    small.add_unit(&unit(!0x1ff, &[IovaRange::ALL]));
    assert_eq!(small.granule(), SMALLEST);
    // What maps nothing allows nothing.
    let nearest = None;
    let wanted = pages(16, 31);
    let nowhere = MapError::NotAllowed { wanted, nearest };
    for none in [unit(0, &[IovaRange::ALL]), unit(0x1000, &[])] {
        let mut limits = Limits::default();
        limits.add_unit(&none);
        assert_eq!(limits.allowed(), []);
        assert_eq!(Mappings::default().check(&map(16, 16), &limits), Err(nowhere));
    }
    assert!(nowhere.to_string().ends_with(": there is none"));
}

/// Where several rules are broken, the first in VFIO's order is told.
#[test]
fn the_first_rule_that_is_broken_is_the_one_that_is_told() {
    let mut limits = Limits::default();
    limits.add_unit(&unit(!0xfff, &[pages(0, 99)]));
    let mut full = Mappings::new(1);
    full.map(map(16, 16), &limits).unwrap();
    let told = |new: &Mapping| full.check(new, &limits).unwrap_err();
    let top = u64::MAX - (PAGE - 1);
    let mut new = Mapping {
        iova: Iova(top + 8),
        host: HostPhys(top + 8),
        size: 0,
        access: Access::empty(),
    };
    assert!(matches!(told(&new), MapError::NoAccess(_)));
    new.access = RW;
    assert!(matches!(told(&new), MapError::Range(RangeError::Empty(_))));
    new.size = 2 * PAGE;
    assert!(matches!(told(&new), MapError::Unaligned { .. }));
    (new.iova, new.host) = (Iova(top), HostPhys(top));
    assert!(matches!(told(&new), MapError::Range(RangeError::Wraps { .. })));
    new.iova = Iova(31 * PAGE);
    assert!(matches!(told(&new), MapError::HostWraps { .. }));
    new.host = HostPhys(0);
    assert!(matches!(told(&new), MapError::Overlap { .. }));
    new.iova = Iova(200 * PAGE);
    assert_eq!(told(&new), MapError::Full { limit: 1 });
    let free = Mappings::default().check(&new, &limits).unwrap_err();
    assert!(matches!(free, MapError::NotAllowed { .. }));
}

#[test]
fn a_mapping_that_does_not_fit_a_newcomer_is_named() {
    let mappings = mapped(&[(16, 31), (64, 67)]);
    let misfit = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        mappings.misfit(&limits, PAGE)
    };
    assert_eq!(misfit(|_| ()), None);
    assert_eq!(
        misfit(|limits| limits.add_reserved(requester(1), reserved(32, 63))),
        None
    );
    assert_eq!(
        misfit(|limits| limits.add_reserved(requester(1), reserved(67, 70))),
        Some(Misfit::Reserved {
            mapping: pages(64, 67),
            requester: requester(1),
            region: reserved(67, 70)
        })
    );
    assert_eq!(
        misfit(|limits| limits.add_unit(&unit(0x1000, &[pages(0, 20), pages(22, 100)]))),
        Some(Misfit::NotAllowed {
            mapping: pages(16, 31),
            nearest: Some(pages(0, 20))
        })
    );
    assert_eq!(
        misfit(|limits| limits.add_unit(&unit(0x1_0000, &[IovaRange::ALL]))),
        Some(Misfit::Granule {
            mapping: pages(64, 67),
            host: HostPhys(0x1_0000_0000 + 64 * PAGE),
            granule: 0x1_0000
        })
    );
    assert_eq!(
        misfit(|limits| limits.add_unit(&unit(0x1000, &[pages(0, 66)]))),
        Some(Misfit::NotAllowed {
            mapping: pages(64, 67),
            nearest: Some(pages(0, 66))
        })
    );
}

/// Each of the three must be a multiple of the granule: the other two do not make up for it.
#[test]
fn every_part_of_a_mapping_has_whole_pages_of_a_newcomer() {
    const LARGE: u64 = 0x1_0000;
    let misfit = |iova: u64, host: u64, size: u64| {
        let mut mappings = Mappings::default();
        let (iova, host, access) = (Iova(iova), HostPhys(host), Access::READ);
        let odd = Mapping {
            iova,
            host,
            size,
            access,
        };
        mappings.map(odd, &Limits::default()).unwrap();
        let mut limits = Limits::default();
        limits.add_unit(&unit(LARGE, &[IovaRange::ALL]));
        mappings.misfit(&limits, PAGE).is_some()
    };
    assert!(!misfit(LARGE, LARGE, LARGE));
    assert!(misfit(PAGE, LARGE, LARGE));
    assert!(misfit(LARGE, PAGE, LARGE));
    assert!(misfit(LARGE, LARGE, PAGE));
    assert!(misfit(PAGE, PAGE, LARGE) && misfit(PAGE, LARGE, PAGE) && misfit(LARGE, PAGE, PAGE));
}
