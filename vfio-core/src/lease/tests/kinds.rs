//! Devices of all four kinds in one table, and containers of a Management Complex from the scan to the close.

use std::string::ToString;
use std::vec::Vec;

use super::buses::{Buses, complex, container, container_resets, dprc, object, table};
use crate::addr::HostPhys;
use crate::cohort::{Cause, Obstacle};
use crate::fsl_mc::ObjectType;
use crate::fsl_mc::spec::{ApiVersion, id};
use crate::lease::{CohortState, CohortTable, ResetFailure};
use crate::mediated::{self, Copier, MediatedId};
use crate::platform::PlatformId;
use crate::set::Patience;
use crate::testing::fsl_mc::{FakeMc, FakeObject, Misbehaviour};
use crate::testing::machine;
use crate::testing::memory::Memory;
use crate::{DeviceId, Fault, Owner, Requester, SetId};

const GUEST: Owner = Owner::Guest(1);
const OTHER: Owner = Owner::Guest(2);

fn of(kind: ObjectType, number: u32) -> DeviceId {
    object(kind, number).into()
}

/// The cohort of the container 2 with the one inside it.
fn nested() -> Vec<DeviceId> {
    [
        of(ObjectType::Dpni, 1),
        of(ObjectType::Dpbp, 1),
        dprc(2),
        dprc(4),
        of(ObjectType::Dpseci, 1),
    ]
    .to_vec()
}

fn refused(table: &CohortTable<Buses>, devices: &[DeviceId]) -> std::string::String {
    table.plan_open(GUEST, devices, false).unwrap_err().to_string()
}

#[test]
fn half_a_container_is_refused_with_what_is_missing_and_why() {
    let table = table(complex());
    assert_eq!(
        refused(&table, &[of(ObjectType::Dpni, 5)]),
        "dprc.5 must come with dpni.5: both are reset by container dprc.5"
    );
    let said = refused(
        &table,
        &[of(ObjectType::Dpni, 1), of(ObjectType::Dpbp, 1), dprc(2)],
    );
    assert!(
        said.contains("dprc.4 must come with dprc.2: dprc.4 is inside dprc.2, whose owner can reset, change and destroy it"),
        "{said}"
    );
    assert!(
        said.contains("dpseci.1 must come with dprc.4: both are reset by container dprc.4"),
        "{said}"
    );
    // One ICID makes one group of two containers.
    assert_eq!(
        refused(&table, &[dprc(6)]),
        "dpni.7 and dprc.6 are one isolation group: the IOMMU takes both for requester stream 0x6; \
         dprc.7 and dprc.6 are one isolation group: the IOMMU takes both for requester stream 0x6"
    );
    assert_eq!(
        refused(&table, &[dprc(1)]),
        "dprc.1 cannot be assigned: it is in dprc.1, the root container, which is the hypervisor's; \
         move it to a container of its own"
    );
}

#[test]
fn what_is_nested_is_one_cohort_and_not_one_group() {
    let table = table(complex());
    let cohorts = table.cohorts();
    let group = |device| cohorts.device(device).unwrap().group;
    assert_eq!(cohorts.cohort_of(dprc(2)).unwrap().members(), {
        let mut members = nested();
        members.sort_unstable();
        members
    });
    assert_ne!(group(dprc(2)), group(dprc(4)));
    assert_eq!(group(dprc(6)), group(of(ObjectType::Dpni, 7)));
    let nested = |cause: &Cause| matches!(cause, Cause::Nested(nesting) if nesting.inner.number == 4);
    let links = cohorts.cohort_of(dprc(2)).unwrap().links();
    assert_eq!(links.iter().filter(|link| nested(&link.cause)).count(), 1);
    // Nobody resets the root.
    let obstacle = |number| {
        cohorts
            .scope(SetId::Dprc(object(ObjectType::Dprc, number)))
            .unwrap()
            .obstacle
    };
    assert_eq!(obstacle(1), Some(Obstacle::NoPart(dprc(1))));
    assert_eq!((obstacle(2), obstacle(4)), (None, None));
}

#[test]
fn whole_containers_are_opened_reset_by_container_and_closed() {
    let table = table(complex());
    let domain = table.domain(GUEST, Vec::new()).unwrap();
    let plan = table.plan_open(GUEST, &nested(), false).unwrap();
    let mut leases = table.open(&plan, &domain).unwrap();
    let lease = leases.pop().unwrap();
    assert!(leases.is_empty());
    assert_eq!((container_resets(&table, 2), container_resets(&table, 4)), (1, 1));
    let attached = table.platform().recorder.view().attached;
    let attached: Vec<Requester> = attached.into_keys().collect();
    assert_eq!(attached, [Requester::Stream(2), Requester::Stream(4)]);
    // Nobody else gets any of it.
    let said = table.plan_open(OTHER, &nested(), false).unwrap_err().to_string();
    assert_eq!(
        said,
        "dprc.2 belongs to guest 1".replace("dprc.2", &nested()[0].to_string())
    );
    // A whole set, as its owner asks; the one inside is left alone, since the firmware can.
    let hot = table.plan_hot_reset(GUEST, of(ObjectType::Dpni, 1)).unwrap();
    assert_eq!(hot.set(), SetId::Dprc(object(ObjectType::Dprc, 2)));
    lease.hot_reset(&hot, Patience::NONE).unwrap();
    assert_eq!((container_resets(&table, 2), container_resets(&table, 4)), (2, 1));
    // One object.
    let resets = || {
        let mut world = table.platform().mc.world.borrow_mut();
        world.object(object(ObjectType::Dpni, 1)).unwrap().resets
    };
    let before = resets();
    lease
        .reset_device(of(ObjectType::Dpni, 1), Patience::NONE)
        .unwrap();
    assert_eq!((resets() - before, container_resets(&table, 2)), (1, 2));
    assert_eq!(
        lease.reset_device(dprc(2), Patience::NONE),
        Err(ResetFailure::NoMethod(dprc(2))),
        "its reset is its set's"
    );
    lease.close().unwrap();
    assert_eq!((container_resets(&table, 2), container_resets(&table, 4)), (3, 2));
    assert!(table.platform().recorder.view().attached.is_empty());
    assert!(
        !table
            .platform()
            .mc
            .world
            .borrow_mut()
            .object(object(ObjectType::Dpni, 1))
            .unwrap()
            .enabled
    );
    // And on to the next owner, since a container can be reset.
    let domain = table.domain(OTHER, Vec::new()).unwrap();
    let plan = table.plan_open(OTHER, &nested(), false).unwrap();
    drop(table.open(&plan, &domain).unwrap());
}

/// Firmware before 6.5 resets what is inside with the container: no hot reset then, and both are reset between owners.
#[test]
fn old_firmware_resets_what_is_inside_and_only_when_all_is_closed() {
    let table = table(complex().with_api(ApiVersion::new(6, 4)));
    let set = SetId::Dprc(object(ObjectType::Dprc, 2));
    let obstacle = table.cohorts().scope(set).unwrap().obstacle;
    assert_eq!(obstacle, Some(Obstacle::Outside(dprc(4))));
    let domain = table.domain(GUEST, Vec::new()).unwrap();
    let plan = table.plan_open(GUEST, &nested(), false).unwrap();
    let leases = table.open(&plan, &domain).unwrap();
    assert_eq!(
        table.plan_hot_reset(GUEST, dprc(2)).unwrap_err().to_string(),
        "hot reset of container dprc.2 refused: dprc.4 is in its scope and not in the set"
    );
    assert!(
        table.plan_hot_reset(GUEST, dprc(4)).is_ok(),
        "nothing is inside that one"
    );
    let before = (container_resets(&table, 2), container_resets(&table, 4));
    drop(leases);
    let after = (container_resets(&table, 2), container_resets(&table, 4));
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    let cohort = table.cohorts().cohort_of(dprc(2)).unwrap();
    assert_eq!(cohort.unresettable(), None);
    assert_eq!(table.state(cohort.id()), Some(CohortState::Quarantined));
}

#[test]
fn a_reset_that_the_complex_refuses_breaks_its_own_cohort_only() {
    let table = table(complex());
    let domain = table.domain(GUEST, Vec::new()).unwrap();
    let five = [of(ObjectType::Dpni, 5), dprc(5)];
    let all: Vec<DeviceId> = nested().into_iter().chain(five).collect();
    let plan = table.plan_open(GUEST, &all, false).unwrap();
    let mut leases = table.open(&plan, &domain).unwrap();
    let (second, first) = (leases.pop().unwrap(), leases.pop().unwrap());
    let broken = second.cohort();
    // The next reset of a container is refused.
    let mut once = true;
    table.platform().mc.before_each(move |world, number| {
        if once && world.log[number].command.id() == id::RESET {
            once = false;
            world.misbehaviour.insert(number, Misbehaviour::Refuse(0xc));
        }
    });
    let said = second.close().unwrap_err().to_string();
    assert!(said.contains("resetting"), "{said}");
    assert!(matches!(table.state(broken), Some(CohortState::Broken(_))));
    let said = refused(&table, &five);
    assert!(said.contains("out of service: resetting"), "{said}");
    // The other one goes on as if nothing had happened.
    let hot = table.plan_hot_reset(GUEST, dprc(4)).unwrap();
    first.hot_reset(&hot, Patience::NONE).unwrap();
    first.close().unwrap();
    // The complex thinks better of it.
    table.repair(broken).unwrap();
    assert_eq!(table.state(broken), Some(CohortState::Quarantined));
    let plan = table.plan_open(GUEST, &five, false).unwrap();
    drop(table.open(&plan, &domain).unwrap());
}

#[test]
fn devices_of_all_four_kinds_are_opened_shared_reset_and_closed() {
    let table = table(complex());
    let (a, b) = (machine::id("01:00.0"), machine::id("01:00.1"));
    let alone = machine::id("00:01.0");
    let platform = |number| DeviceId::from(PlatformId(number));
    let software = DeviceId::from(MediatedId(3));
    assert_eq!(
        refused(&table, &[platform(0)]),
        "platform.1 and platform.0 are one isolation group: the IOMMU takes both for requester stream 0x400"
    );
    let five = [of(ObjectType::Dpni, 5), dprc(5)];
    let mut all = [a, b, alone, platform(0), platform(1), software].to_vec();
    all.extend(five);
    let domain = table.domain(GUEST, [super::region(0x1000)].to_vec()).unwrap();
    let plan = table.plan_open(GUEST, &all, false).unwrap();
    let leases = table.open(&plan, &domain).unwrap();
    assert_eq!(
        leases.len(),
        5,
        "slot, function, pair, mediated device, container"
    );
    let buses = table.platform();
    assert_eq!(buses.recorder.view().opened.len(), all.len());
    let mut opened: Vec<DeviceId> = buses.recorder.view().opened.into_keys().collect();
    opened.sort_unstable();
    let mut wanted = all.clone();
    wanted.sort_unstable();
    assert_eq!(opened, wanted);
    assert_eq!(
        buses.recorder.view().attached.len(),
        5,
        "the mediated device has nobody to attach"
    );
    let resets = |at| buses.pci.resets(crate::testing::pci::bdf(at));
    assert_eq!(
        (resets("01:00.0"), resets("01:00.1"), container_resets(&table, 5)),
        (1, 1, 1)
    );
    // Shared: one more open of each, which nothing is called for.
    buses.recorder.take_trace();
    for lease in &leases {
        for &device in lease.devices() {
            let handle = lease.handle(device, Patience::NONE).unwrap();
            assert_eq!(handle.counts().device, 2);
            handle.close().unwrap();
        }
    }
    assert_eq!(buses.recorder.take_trace(), []);
    // The mediated device reaches what the domain maps, through software.
    let memory = Memory::with(0x100_1000, 1);
    let sink = Quiet;
    let mut copier = Copier::new(MediatedId(3), &sink);
    mediated::open(&mut copier, &domain, &memory).unwrap();
    // Reset while open: whatever has one, alone or by its set.
    for lease in &leases {
        for &device in lease.devices() {
            let own = lease.reset_device(device, Patience::NONE);
            let whole = table
                .plan_hot_reset(GUEST, device)
                .ok()
                .map(|plan| lease.hot_reset(&plan, Patience::NONE));
            assert!(
                own == Ok(()) || own == Err(ResetFailure::NoMethod(device)),
                "{device}: {own:?}"
            );
            assert!(own == Ok(()) || whole == Some(Ok(())), "{device}: {whole:?}");
        }
    }
    assert_eq!(
        (resets("00:01.0"), resets("01:00.0"), container_resets(&table, 5)),
        (2, 3, 3)
    );
    assert!(buses.resets.borrow().contains(&software) && buses.resets.borrow().contains(&platform(1)));
    mediated::close(&mut copier).unwrap();
    for lease in leases {
        lease.close().unwrap();
    }
    let view = buses.recorder.view();
    assert!(
        view.opened.is_empty()
            && view.attached.is_empty()
            && view.interrupts.is_empty()
            && view.live.is_empty()
    );
    domain.close().map_err(|in_use| in_use.to_string()).unwrap();
    for cohort in table.cohorts().iter() {
        assert_eq!(table.state(cohort.id()), Some(CohortState::Quarantined));
    }
}

#[test]
fn a_platform_device_that_hangs_is_out_of_service_and_the_others_are_not() {
    let table = table(complex());
    let pair = [DeviceId::from(PlatformId(0)), DeviceId::from(PlatformId(1))];
    table.platform().hangs.set(true);
    let domain = table.domain(GUEST, Vec::new()).unwrap();
    let plan = table.plan_open(GUEST, &pair, false).unwrap();
    let said = table.open(&plan, &domain).unwrap_err().to_string();
    assert!(
        said.contains("resetting platform.0 failed: it did not answer in time"),
        "{said}"
    );
    let five = [of(ObjectType::Dpni, 5), dprc(5), DeviceId::from(PlatformId(2))];
    let plan = table.plan_open(GUEST, &five, false).unwrap();
    drop(table.open(&plan, &domain).unwrap());
    table.platform().hangs.set(false);
    // Whoever had what nothing resets keeps it.
    let domain = table.domain(OTHER, Vec::new()).unwrap();
    let said = table.plan_open(OTHER, &five, false).unwrap_err().to_string();
    assert_eq!(
        said,
        "platform.2 has been used by guest 1 and has no reset method, so nobody else can have it"
    );
    drop(domain);
}

#[test]
fn what_makes_no_sense_is_given_to_nobody() {
    let strange = FakeMc::new([
        (1, container(1, [FakeObject::new("dprc", 2)].to_vec())),
        (
            2,
            container(
                2,
                [FakeObject::new("dpni", 1), FakeObject::new("dpxx", 1)].to_vec(),
            ),
        ),
    ]);
    let table = table(strange);
    let said = refused(&table, &[of(ObjectType::Dpni, 1), dprc(2)]);
    assert!(
        said.contains("it has an object of the unknown type `dpxx`"),
        "{said}"
    );
    let mut inventory = crate::cohort::Inventory::new();
    let region = crate::platform::PlatformRegion {
        kind: crate::platform::RegionKind::Memory,
        address: HostPhys(u64::MAX),
        size: 2,
        writable: true,
    };
    inventory.add_platform(&[crate::platform::Description {
        id: PlatformId(9),
        regions: [region].to_vec(),
        irqs: Vec::new(),
        reset: crate::platform::ResetKind::Optional,
        requesters: Vec::new(),
    }]);
    let cohorts = crate::cohort::Cohorts::build(inventory).unwrap();
    let terms = crate::cohort::Terms {
        interrupts_isolated: true,
        allow_unsafe_interrupts: false,
    };
    let said = cohorts
        .plan_open(GUEST, &[PlatformId(9).into()], terms)
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("platform.9 cannot be assigned: its description makes no sense"),
        "{said}"
    );
    assert!(said.contains("correct it in the firmware"), "{said}");
}

/// Nobody listens.
struct Quiet;

impl crate::device::IrqSink for &Quiet {
    fn signal(&self, _: DeviceId, _: u32, _: u32) {}
}

#[test]
fn a_portal_that_stops_answering_breaks_what_needs_it_and_nothing_else() {
    let table = table(complex());
    let domain = table.domain(GUEST, Vec::new()).unwrap();
    let five = [of(ObjectType::Dpni, 5), dprc(5)];
    let slot = [machine::id("01:00.0"), machine::id("01:00.1")];
    let cohort = table.cohorts().cohort_of(dprc(5)).unwrap().id();
    let silent = |on: bool| {
        table.platform().mc.before_each(move |world, number| {
            if on {
                world.misbehaviour.insert(number, Misbehaviour::Silent);
            }
        });
    };
    silent(true);
    let plan = table.plan_open(GUEST, &five, false).unwrap();
    let said = table.open(&plan, &domain).unwrap_err().to_string();
    assert!(said.contains("it did not answer in time"), "{said}");
    assert_eq!(
        table.state(cohort),
        Some(CohortState::Quarantined),
        "nothing was done yet"
    );
    silent(false);
    let lease = table.open(&plan, &domain).unwrap().pop().unwrap();
    silent(true);
    lease.close().unwrap_err();
    let state = table.state(cohort);
    assert!(
        matches!(state, Some(CohortState::Broken(failure)) if failure.fault == Fault::TimedOut),
        "{state:?}"
    );
    let plan = table.plan_open(GUEST, &slot, false).unwrap();
    for lease in table.open(&plan, &domain).unwrap() {
        lease.close().unwrap();
    }
    silent(false);
    table.repair(cohort).unwrap();
}
