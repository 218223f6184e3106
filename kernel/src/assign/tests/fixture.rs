//! A machine to assign from: the fake PCI of `pci`, the fake virtio-iommu, and a device's memory with an MSI-X table.

use super::super::Assigner;
use crate::acpi::{IommuLocation, PciRange, Viot};
use crate::addr::HostPhys;
use crate::iommu::Registry;
use crate::iommu::virtio::tests::device::Device;
use crate::iommu::virtio::{VirtioIommu, VirtioUnit};
use crate::pci::{ConfigAccess, Function, MmioAccess, Width, enable_acs, to_topology};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use vfio_core::addr::Iova;
use vfio_core::cohort::Cohorts;
use vfio_core::lease::CohortTable;
use vfio_core::pci::spec::{Command, header};
use vfio_core::pci::{Bdf, Topology};
use vfio_core::testing::pci::{Machine, Model, found};
use vfio_core::{Access, DeviceId, Mapping};

/// The function with MSI, MSI-X and a reset of its own.
pub(crate) const NVME: &str = "00:04.0";
/// A slot with two functions that only a bus reset resets.
pub(crate) const PAIR: [&str; 2] = ["01:00.0", "01:00.1"];
/// Two devices behind a bridge that speaks for them with one requester id.
pub(crate) const LEGACY: [&str; 2] = ["03:01.0", "03:02.0"];
/// That requester id.
pub(crate) const ALIAS: u32 = 0x300;
/// Entries of the MSI-X table.
pub(crate) const VECTORS: u16 = 4;
/// Where the MSI-X table is, host physical.
pub(crate) const TABLE: u64 = 0xfe60_2000;
/// Where the pending bits are, host physical.
pub(crate) const PENDING: u64 = 0xfe60_3000;

const MSIX: u16 = 0x7c;
pub(super) const MSI: u16 = 0x88;

pub(crate) fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> DeviceId {
    bdf(text).into()
}

pub(crate) fn ids<const N: usize>(texts: [&str; N]) -> [DeviceId; N] {
    texts.map(id)
}

pub(crate) fn region(iova: u64, host: u64) -> Mapping {
    Mapping {
        iova: Iova(iova),
        host: HostPhys(host),
        size: 0x1000,
        access: Access::READ | Access::WRITE,
    }
}

/// The NVMe controller's registers and table, which answer only while it decodes memory.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) words: Rc<RefCell<BTreeMap<u64, u32>>>,
    /// Writes are lost.
    pub(crate) forgets: Rc<Cell<bool>>,
    /// Accesses that nobody answered.
    pub(crate) unanswered: Rc<Cell<u32>>,
}

pub(crate) struct DeviceMemory<'m> {
    machine: &'m Machine,
    memory: Memory,
}

impl DeviceMemory<'_> {
    fn answers(&self) -> bool {
        let command = self.machine.read(bdf(NVME), header::COMMAND, Width::Word);
        let on = Command::from_bits_retain(command as u16).contains(Command::MEMORY);
        if !on {
            self.memory.unanswered.set(self.memory.unanswered.get() + 1);
        }
        on
    }
}

impl MmioAccess for DeviceMemory<'_> {
    fn read32(&mut self, address: u64) -> u32 {
        if !self.answers() {
            return u32::MAX;
        }
        self.memory.words.borrow().get(&address).copied().unwrap_or(0)
    }

    fn write32(&mut self, address: u64, value: u32) {
        if self.answers() && !self.memory.forgets.get() {
            self.memory.words.borrow_mut().insert(address, value);
        }
    }
}

pub(crate) type TestAssigner<'m> = Assigner<&'m Machine, &'m Machine, DeviceMemory<'m>, VirtioUnit<Device>>;

/// The machine, and the other ends of what the assigner holds.
pub(crate) struct Fixture {
    pub(crate) machine: Machine,
    pub(crate) iommu: Device,
    pub(crate) memory: Memory,
}

impl Fixture {
    /// As firmware may leave it: every endpoint masters the bus and sends interrupts.
    pub(crate) fn new() -> Self {
        Self::with(|nvme| nvme)
    }

    /// The same with another NVMe controller.
    pub(crate) fn with(change: impl FnOnce(Model) -> Model) -> Self {
        let nvme = Model::endpoint()
            .bar(0, 4, 0x4000, 0xfe60_0000)
            .express(0, 1 << 28)
            .capability(0x11, &[VECTORS as u8 - 1, 0, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0])
            .capability(0x05, &[0; 8])
            .writable(MSIX, 0xc000_0000)
            .writable(MSI, 0x0071_0000);
        let nvme = change(nvme);
        let function = || Model::endpoint().multi_function().express(0, 0);
        let port = |secondary, subordinate| Model::bridge(Some(4), secondary, subordinate).acs(0x1f);
        let machine = Machine::new([
            (bdf(NVME), nvme),
            (bdf("00:05.0"), port(1, 1)),
            (bdf("00:06.0"), port(2, 3)),
            (bdf(PAIR[0]), function()),
            (bdf(PAIR[1]), function()),
            (bdf("02:00.0"), Model::bridge(Some(7), 3, 3)),
            (bdf(LEGACY[0]), Model::endpoint()),
            (bdf(LEGACY[1]), Model::endpoint()),
        ]);
        for endpoint in [NVME].into_iter().chain(PAIR).chain(LEGACY) {
            machine.write(
                bdf(endpoint),
                header::COMMAND,
                Width::Word,
                Command::BUS_MASTER.bits().into(),
            );
        }
        machine.write(bdf(NVME), MSIX + 2, Width::Word, 0x8000);
        machine.write(bdf(NVME), MSI + 2, Width::Word, 1);
        let iommu = Device::new().set(|state| state.existing = vec![0x20, 0x100, 0x101, ALIAS]);
        Self {
            machine,
            iommu,
            memory: Memory::default(),
        }
    }

    fn functions(&self) -> Vec<Function> {
        let mut found = found(&self.machine);
        assert_eq!(found.problems, []);
        for function in &mut found.functions {
            enable_acs(&self.machine, function);
        }
        found.functions
    }

    pub(crate) fn topology(&self) -> Topology {
        Topology::new(to_topology(&self.functions())).unwrap()
    }

    pub(crate) fn assigner(&self) -> TestAssigner<'_> {
        let viot = Viot {
            iommus: vec![IommuLocation::Pci(bdf("00:1f.0"))],
            ranges: vec![PciRange {
                endpoint_start: 0,
                segments: (0, 0),
                requesters: (0, u16::MAX),
                iommu: 0,
            }],
        };
        let memory = DeviceMemory {
            machine: &self.machine,
            memory: self.memory.clone(),
        };
        let iommu = VirtioIommu::init(self.iommu.clone()).unwrap();
        Assigner::new(
            &self.machine,
            &self.machine,
            memory,
            self.functions(),
            &self.topology(),
            Registry::new(vec![VirtioUnit::new(iommu, viot, 0)]),
        )
    }

    pub(crate) fn table(&self) -> CohortTable<TestAssigner<'_>> {
        CohortTable::new(Cohorts::new(&self.topology()), self.assigner()).unwrap()
    }

    /// From now on the function reads as absent.
    pub(crate) fn remove(&self, text: &str) {
        self.change(text, |model| model.absent_until = u64::MAX);
    }

    pub(crate) fn change(&self, text: &str, change: impl FnOnce(&mut Model)) {
        change(self.machine.functions.borrow_mut().get_mut(&bdf(text)).unwrap());
    }

    pub(crate) fn command(&self, text: &str) -> Command {
        Command::from_bits_retain(self.machine.read(bdf(text), header::COMMAND, Width::Word) as u16)
    }

    pub(crate) fn set_command(&self, text: &str, command: Command) {
        self.machine
            .write(bdf(text), header::COMMAND, Width::Word, command.bits().into());
    }

    pub(crate) fn msix_control(&self) -> u32 {
        self.machine.read(bdf(NVME), MSIX + 2, Width::Word)
    }

    pub(crate) fn msi_control(&self) -> u32 {
        self.machine.read(bdf(NVME), MSI + 2, Width::Word)
    }

    /// The four words of an entry of the MSI-X table.
    pub(crate) fn entry(&self, entry: u16) -> [u32; 4] {
        let words = self.memory.words.borrow();
        [0, 4, 8, 12].map(|word| {
            words
                .get(&(TABLE + u64::from(entry) * 16 + word))
                .copied()
                .unwrap_or(0)
        })
    }

    pub(crate) fn reaches(&self, endpoint: u32, address: u64) -> Option<u64> {
        let state = self.iommu.0.borrow();
        state.translate(endpoint, address).map(|(host, _)| host)
    }
}
