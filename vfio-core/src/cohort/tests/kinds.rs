//! Devices of all four kinds in one inventory, and one machine that is as large as machines get.

use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::fsl_mc::{ObjectId, ObjectType};
use crate::mediated::MediatedId;
use crate::pci::{Bdf, BusRange, PortKind};
use crate::platform::PlatformId;

fn object(kind: ObjectType, number: u32) -> ObjectId {
    ObjectId { kind, number }
}

const DPRC: ObjectId = ObjectId {
    kind: ObjectType::Dprc,
    number: 2,
};

/// The demo's PCI functions; a container with two objects in it, and one in that with an object of its own; three platform
/// devices, of which two speak with one stream; a mediated device.
fn inventory() -> Inventory {
    let mut inventory = Inventory::new();
    inventory.add_pci(&Topology::new(demo()).unwrap());
    let (dpni, dpio) = (object(ObjectType::Dpni, 1), object(ObjectType::Dpio, 7));
    let (child, inner) = (object(ObjectType::Dprc, 3), object(ObjectType::Dpbp, 4));
    inventory
        .add(Member::fsl_mc(dpni, DPRC, 0x17))
        .add(Member::fsl_mc(DPRC, DPRC, 0x17))
        .add(Member::fsl_mc(dpio, DPRC, 0x17))
        .add(Member::fsl_mc(child, child, 0x18))
        .add(Member::fsl_mc(inner, child, 0x18));
    let by = SetReset::Container(DPRC);
    inventory.reset_set(SetId::Dprc(DPRC), SetScope { by, obstacle: None });
    let stream = |id| Vec::from([Requester::Stream(id)]);
    inventory
        .add(Member::platform(PlatformId(0), stream(0x40), true, true))
        .add(Member::platform(PlatformId(1), stream(0x40), false, false))
        .add(Member::platform(PlatformId(2), stream(0x41), false, true))
        .add(Member::mediated(MediatedId(5)));
    inventory
}

#[test]
fn a_container_is_one_cohort_by_its_set_and_its_isolation_id() {
    let cohorts = Cohorts::build(inventory()).unwrap();
    let dpni = DeviceId::from(object(ObjectType::Dpni, 1));
    let cohort = cohorts.cohort_of(dpni).unwrap();
    assert_eq!(cohort.members().len(), 3);
    assert_eq!(cohort.requesters(), [Requester::Stream(0x17)]);
    assert_eq!(cohort.resets().len(), 1);
    assert_eq!(cohort.resets()[0].to_string(), "container reset of dprc.2");
    assert_eq!(cohort.resets()[0].devices(), cohort.members());
    let refused = cohorts.plan_open(GUEST, &[dpni, DPRC.into()], SAFE).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "dpio.7 must come with dpni.1: both are reset by container dprc.2"
    );
    let causes: Vec<Cause> = cohort.links().iter().map(|link| link.cause).collect();
    assert!(causes.contains(&Cause::Requester(Requester::Stream(0x17))));
    // The container inside is another, and each object of it is reset alone: nothing was said of its reset.
    let child = cohorts.cohort_of(object(ObjectType::Dpbp, 4).into()).unwrap();
    assert_eq!(child.members().len(), 2);
    assert_ne!(child.id(), cohort.id());
    assert!(
        child
            .resets()
            .iter()
            .all(|action| action.to_string() == "object reset")
    );
    assert_eq!(child.unresettable(), None);
}

#[test]
fn platform_devices_are_alone_unless_they_share_a_stream() {
    let cohorts = Cohorts::build(inventory()).unwrap();
    let device = |number| DeviceId::from(PlatformId(number));
    let refused = cohorts.plan_open(GUEST, &[device(0)], SAFE).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "platform.1 and platform.0 are one isolation group: the IOMMU takes both for requester stream 0x40"
    );
    let pair = cohorts.cohort_of(device(0)).unwrap();
    assert_eq!(pair.unresettable(), Some(device(1)), "optional, and absent");
    let used = Standing {
        state: CohortState::Quarantined,
        soiled_by: Some(Owner::Guest(9)),
    };
    assert!(matches!(used.admits(GUEST, pair), Err(Refusal::NoReset { .. })));
    assert_eq!(cohorts.cohort_of(device(2)).unwrap().members(), [device(2)]);
    for number in 0..3 {
        let set = cohorts.device(device(number)).unwrap().set;
        assert_eq!(set, SetId::Own(device(number)));
    }
    let refused = cohorts.plan_open(GUEST, &[device(2)], SAFE).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "platform.2 cannot be assigned: its description says that it must be reset, and it has no reset method"
    );
}

#[test]
fn a_mediated_device_is_alone_has_no_requester_and_is_reset_by_software() {
    let cohorts = Cohorts::build(inventory()).unwrap();
    let device = DeviceId::from(MediatedId(5));
    let cohort = cohorts.cohort_of(device).unwrap();
    assert_eq!((cohort.members(), cohort.requesters()), (&[device][..], &[][..]));
    let method = DeviceReset::Software;
    assert_eq!(cohort.resets(), [ResetAction::Device { device, method }]);
    assert_eq!(cohorts.device(device).unwrap().set, SetId::Own(device));
}

#[test]
fn an_inventory_that_contradicts_itself_is_refused() {
    let device = DeviceId::from(MediatedId(1));
    let ghost = DeviceId::from(MediatedId(2));
    let build = |change: &dyn Fn(&mut Inventory)| {
        let mut inventory = Inventory::splitting([]);
        inventory.add(Member::mediated(MediatedId(1)));
        change(&mut inventory);
        Cohorts::build(inventory).map(|_| ())
    };
    assert_eq!(build(&|_| ()), Ok(()));
    let twice = build(&|inventory| {
        inventory.add(Member::new(device));
    });
    assert_eq!(twice, Err(InventoryError::Twice(device)));
    let orphan = build(&|inventory| {
        let member = Member::new(bdf("04:00.1").into());
        inventory.add(Member {
            physical_function: Some(id("04:00.0")),
            ..member
        });
    });
    assert_eq!(
        orphan,
        Err(InventoryError::NoPhysicalFunction {
            virtual_function: id("04:00.1"),
            physical_function: id("04:00.0")
        })
    );
    let nobody = build(&|inventory| {
        inventory.join(Cause::Description, [device, ghost]);
    });
    assert_eq!(nobody, Err(InventoryError::NoMember(ghost)));
    let mut inventory = Inventory::splitting([ghost]);
    inventory.add(Member::mediated(MediatedId(1)));
    let said = Cohorts::build(inventory).unwrap_err();
    assert_eq!(said, InventoryError::NothingToSplit(ghost));
    assert!(said.to_string().contains("split-unsafe"), "{said}");
}

/// Groups by any cause, split or not: what is split off is out, the others stay together, and it is noted.
#[test]
fn a_description_joins_devices_and_the_user_may_split_them() {
    let device = |number| DeviceId::from(PlatformId(number));
    let mut inventory = Inventory::splitting([device(0), device(3)]);
    for number in 0..5 {
        let stream = Vec::from([Requester::Stream(number)]);
        inventory.add(Member::platform(PlatformId(number), stream, true, false));
    }
    inventory.join(Cause::Description, (0..3).map(device));
    inventory.join(Cause::Description, [device(3)]);
    let cohorts = Cohorts::build(inventory).unwrap();
    let of = |number| cohorts.device(device(number)).unwrap().cohort;
    assert_eq!(of(1), of(2));
    assert_ne!(of(0), of(1));
    let said: Vec<_> = cohorts.cuts().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "platform.0 is split off by split-unsafe, although the platform's description says that they reach each other"
        ]
    );
    assert!(cohorts.device(device(3)).unwrap().split_unsafe && cohorts.cuts_of(device(3)).is_empty());
}

/// A machine of `segments` times 4,096 functions: in each segment 128 ports, every second one without ACS, with 32
/// functions below, of which some belong together and some are virtual.
fn large(segments: u16) -> Vec<Function> {
    let mut functions = Vec::new();
    for segment in 0..segments {
        for number in 0..128u8 {
            let port = Bdf::from_devfn(segment, 0, number);
            let bus = number + 1;
            functions.push(Function {
                buses: Some(BusRange {
                    secondary: bus,
                    subordinate: bus,
                }),
                acs: (number % 2 == 0).then(|| crate::pci::AcsCapability::enabled(crate::pci::Acs::PORT)),
                ..Function::new(port, PortKind::RootPort)
            });
            for devfn in 0..32u8 {
                let physical = Bdf::from_devfn(segment, bus, 0);
                functions.push(Function {
                    parent: Some(port),
                    resets: ResetMethods::FLR | ResetMethods::BUS,
                    physical_function: (devfn > 15).then_some(physical),
                    ..Function::new(Bdf::from_devfn(segment, bus, devfn), PortKind::Endpoint)
                });
            }
        }
    }
    functions
}

/// Sixteen times as many devices take sixteen times as long, or a little more, and not 256 times. That is far from
/// what a loaded machine could blur.
#[test]
#[cfg_attr(miri, ignore = "time means nothing there")]
fn grouping_is_linear() {
    let time = |segments| {
        let functions = large(segments);
        let start = std::time::Instant::now();
        let cohorts = Cohorts::new(&Topology::new(functions).unwrap());
        let all: Vec<DeviceId> = cohorts.devices().iter().map(|device| device.id).collect();
        assert_eq!(all.len(), usize::from(segments) * 4096);
        let plan = cohorts.plan_open(GUEST, &all, SAFE).unwrap();
        assert_eq!(plan.cohorts().count(), cohorts.iter().count());
        start.elapsed()
    };
    let (small, big) = (time(1).max(time(1)), time(16).min(time(16)));
    assert!(
        big < small * 16 * 6,
        "{small:?} for 4,096 devices, {big:?} for 65,536"
    );
}
