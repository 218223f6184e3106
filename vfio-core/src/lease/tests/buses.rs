//! A platform over hardware of all four kinds: each step goes to the recorder and on to the bus that the device is on.

use std::cell::{Cell, RefCell};
use std::vec::Vec;

use crate::cohort::{Cohorts, DeviceReset, Inventory, ResetAction, SetReset};
use crate::domain::{IovaRange, ReservedRegion, UnitId, UnitLimits};
use crate::fsl_mc::portal::Portal;
use crate::fsl_mc::scan::scan;
use crate::fsl_mc::spec::ApiVersion;
use crate::fsl_mc::{self, ObjectId, ObjectType};
use crate::lease::{CohortTable, DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use crate::mediated::MediatedId;
use crate::pci::config::to_topology;
use crate::pci::device::{FunctionTable, LastReset, NotExposed};
use crate::pci::spec::express::DEVICE_CAPABILITIES_FLR;
use crate::pci::spec::header;
use crate::pci::{Bdf, Topology};
use crate::platform::{Description, PlatformId, ResetKind, Trigger};
use crate::testing::fsl_mc::{FakeContainer, FakeMc, FakeObject};
use crate::testing::pci::{Machine, Model, bdf, found};
use crate::testing::platform::Recorder;
use crate::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

pub(super) const fn object(kind: ObjectType, number: u32) -> ObjectId {
    ObjectId { kind, number }
}

pub(super) fn dprc(number: u32) -> DeviceId {
    object(ObjectType::Dprc, number).into()
}

/// The hardware, and what was asked of it.
pub(super) struct Buses {
    pub(super) recorder: Recorder,
    pub(super) mc: FakeMc,
    pub(super) pci: Machine,
    functions: FunctionTable,
    api: ApiVersion,
    /// Resets of devices that have no bus.
    pub(super) resets: RefCell<Vec<DeviceId>>,
    /// Platform devices do not answer.
    pub(super) hangs: Cell<bool>,
}

impl Buses {
    fn portal(&self) -> Portal<crate::testing::fsl_mc::FakePortal<'_>, &FakeMc> {
        Portal::new(self.mc.portal(0), &self.mc)
    }
}

/// A table of what is found: a slot of two functions and one with FLR alone; whatever `mc` has; two platform devices with one
/// stream, and one without; a mediated device.
pub(super) fn table(mc: FakeMc) -> CohortTable<Buses> {
    let device = |capabilities| {
        let mut model = Model::endpoint()
            .bar(0, 4, 0x4000, 0xfe60_0000)
            .express(0, capabilities)
            .power_management(true);
        model.bytes[usize::from(header::INTERRUPT_PIN)] = 1;
        model
    };
    let pci = Machine::new([
        (bdf("00:01.0"), device(DEVICE_CAPABILITIES_FLR)),
        (bdf("00:05.0"), Model::bridge(Some(4), 1, 1)),
        (bdf("01:00.0"), device(0).multi_function()),
        (bdf("01:00.1"), device(0).multi_function()),
    ]);
    let scanned = found(&pci);
    let tree = scan(&mut Portal::new(mc.portal(0), &mc), &[]).unwrap();
    let mut inventory = Inventory::new();
    inventory
        .add_pci(&Topology::new(to_topology(&scanned.functions)).unwrap())
        .add_fsl_mc(&fsl_mc::inventory(&tree))
        .add_platform(&[
            described(0, ResetKind::Required, &[0x400]),
            described(1, ResetKind::Optional, &[0x400]),
            described(2, ResetKind::None, &[]),
        ])
        .add_mediated([MediatedId(3)]);
    let cohorts = Cohorts::build(inventory).unwrap();
    let buses = Buses {
        recorder: Recorder::with_remapping(),
        functions: FunctionTable::new(scanned.functions),
        api: tree.api,
        mc,
        pci,
        resets: RefCell::new(Vec::new()),
        hangs: Cell::new(false),
    };
    let table = CohortTable::new(cohorts, buses).unwrap();
    table.platform().recorder.take_trace();
    table
}

fn described(number: u32, reset: ResetKind, streams: &[u32]) -> Description {
    Description {
        id: PlatformId(number),
        regions: Vec::new(),
        irqs: [Trigger::Level].to_vec(),
        reset,
        requesters: streams.iter().map(|id| Requester::Stream(*id)).collect(),
    }
}

pub(super) fn container(icid: u16, objects: Vec<FakeObject>) -> FakeContainer {
    FakeContainer {
        icid,
        objects,
        resets: 0,
    }
}

/// Root 1; 2 with 4 in it; 5 beside them; 6 and 7, which firmware gave one ICID.
pub(super) fn complex() -> FakeMc {
    let inside = |number| FakeObject::new("dprc", number);
    FakeMc::new([
        (1, container(1, [2, 5, 6, 7].into_iter().map(inside).collect())),
        (
            2,
            container(
                2,
                [FakeObject::new("dpni", 1), FakeObject::new("dpbp", 1), inside(4)].to_vec(),
            ),
        ),
        (4, container(4, [FakeObject::new("dpseci", 1)].to_vec())),
        (5, container(5, [FakeObject::new("dpni", 5)].to_vec())),
        (6, container(6, Vec::new())),
        (7, container(6, [FakeObject::new("dpni", 7)].to_vec())),
    ])
}

#[expect(unsafe_code, reason = "a recording has no memory to protect")]
// SAFETY: nothing here can reach memory.
unsafe impl DmaDomains for Buses {
    fn unit_of(&self, requester: Requester) -> Result<UnitId, Fault> {
        self.recorder.unit_of(requester)
    }

    fn limits(&self, unit: UnitId) -> Result<UnitLimits, Fault> {
        self.recorder.limits(unit)
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        self.recorder.reserved(requester)
    }

    fn create_domain(&self, owner: Owner) -> Result<DomainId, Fault> {
        self.recorder.create_domain(owner)
    }

    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        self.recorder.destroy_domain(domain)
    }

    fn map(&self, unit: UnitId, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        self.recorder.map(unit, domain, mapping)
    }

    fn unmap(&self, unit: UnitId, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        self.recorder.unmap(unit, domain, range)
    }

    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        self.recorder.attach(domain, requester)
    }

    fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        self.recorder.quarantine(requester)
    }
}

impl Quiesce for Buses {
    fn quiesce(&self, device: DeviceId) -> Result<(), Fault> {
        self.recorder.quiesce(device)?;
        match device {
            DeviceId::Pci(at) => self
                .functions
                .with(at, |function| function.quiesce(&self.pci))??,
            DeviceId::FslMc(object) => fsl_mc::reset::quiesce(&mut self.portal(), object, 1)?,
            DeviceId::Platform(_) | DeviceId::Mediated(_) => {}
        }
        Ok(())
    }
}

impl Reset for Buses {
    fn reset(&self, action: &ResetAction) -> Result<(), Fault> {
        self.recorder.reset(action)?;
        let functions: Vec<Bdf> = action.devices().iter().filter_map(|id| id.pci()).collect();
        match *action {
            ResetAction::Set {
                by: SetReset::Port(_),
                ..
            } => self.functions.reset_set(&self.pci, &functions)?,
            ResetAction::Device {
                device: DeviceId::Pci(at),
                ..
            } => {
                self.functions.reset(&self.pci, at, &NotExposed)?;
            }
            ResetAction::Device {
                device,
                method: DeviceReset::Platform | DeviceReset::Software,
            } => {
                if self.hangs.get() {
                    return Err(Fault::TimedOut);
                }
                self.resets.borrow_mut().push(device);
            }
            _ => fsl_mc::reset::run(&mut self.portal(), action, self.api)?,
        }
        Ok(())
    }

    fn check_alive(&self, device: DeviceId) -> Result<(), Fault> {
        self.recorder.check_alive(device)?;
        match device {
            DeviceId::Pci(at) => self.functions.with(at, |function| function.alive(&self.pci))??,
            DeviceId::FslMc(object) => {
                let icid = self
                    .mc
                    .world
                    .borrow()
                    .containers
                    .get(&object.number)
                    .map(|at| at.icid);
                fsl_mc::reset::check_alive(&mut self.portal(), object, icid)?;
            }
            DeviceId::Platform(_) | DeviceId::Mediated(_) => {}
        }
        Ok(())
    }
}

impl Interrupts for Buses {
    fn interrupts_isolated(&self) -> bool {
        true
    }

    fn enable_interrupts(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.recorder.enable_interrupts(device, owner)
    }

    fn release_interrupts(&self, device: DeviceId) -> Result<(), Fault> {
        self.recorder.release_interrupts(device)
    }
}

impl DeviceOps for Buses {
    fn open_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        if let Some(at) = device.pci() {
            self.functions.enable(&self.pci, at)?;
        }
        self.recorder.open_device(device, owner)
    }

    fn close_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.recorder.close_device(device, owner)?;
        if let Some(at) = device.pci() {
            self.functions
                .disable(&self.pci, at, LastReset::Later, &NotExposed)?;
        }
        Ok(())
    }

    fn restore_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.recorder.restore_device(device, owner)
    }
}

/// How often a container was reset.
pub(super) fn container_resets(table: &CohortTable<Buses>, number: u32) -> u32 {
    table.platform().mc.world.borrow().containers[&number].resets
}
