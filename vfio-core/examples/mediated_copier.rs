//! A mediated device, software that copies its owner's memory: without a domain it does nothing, in one it reaches what the
//! owner mapped and no more, and it lets go of a page that is unmapped under it.
//!
//! `cargo run -p vfio-core --example mediated_copier`

mod shared;

use std::error::Error;
use std::sync::Mutex;

use vfio_core::addr::{HostPhys, Iova};
use vfio_core::cohort::Cohorts;
use vfio_core::device::{Device, IrqAction, IrqRange, IrqRequest, IrqSink};
use vfio_core::domain::HostMemory;
use vfio_core::lease::CohortTable;
use vfio_core::mediated::{self, Copier, MediatedId, Register};
use vfio_core::pci::Topology;
use vfio_core::{Access, DeviceId, Fault, Mapping, Owner};

const PAGE: u64 = 0x1000;
/// Where the host has the guest's memory.
const START: u64 = 0x4000_0000;

/// Four pages of the host.
struct Memory(Mutex<[u8; 4 * PAGE as usize]>);

impl Memory {
    fn with<R>(&self, at: HostPhys, len: usize, work: impl FnOnce(&mut [u8]) -> R) -> Result<R, Fault> {
        let from =
            at.0.checked_sub(START)
                .and_then(|from| usize::try_from(from).ok());
        let from = from.ok_or(Fault::BadAddress)?;
        let mut memory = self.0.lock().map_err(|_| Fault::Rejected)?;
        let end = from.checked_add(len).ok_or(Fault::BadAddress)?;
        memory.get_mut(from..end).map(work).ok_or(Fault::BadAddress)
    }
}

impl HostMemory for Memory {
    fn read(&self, from: HostPhys, data: &mut [u8]) -> Result<(), Fault> {
        self.with(from, data.len(), |memory| data.copy_from_slice(memory))
    }

    fn write(&self, to: HostPhys, data: &[u8]) -> Result<(), Fault> {
        self.with(to, data.len(), |memory| memory.copy_from_slice(data))
    }
}

/// Where interrupts go: into the guest.
struct Guest;

impl IrqSink for Guest {
    fn signal(&self, device: DeviceId, index: u32, _: u32) {
        println!("  the guest gets interrupt {index} of {device}");
    }
}

/// What the guest's driver does: fill in the registers, start, look how it went.
fn copy(device: &mut impl Device, source: u64, target: u64, length: u32) -> Result<(), Box<dyn Error>> {
    println!("copying {length} bytes from {source:#x} to {target:#x}:");
    device.write(0, Register::Source as u64, &source.to_le_bytes())?;
    device.write(0, Register::Target as u64, &target.to_le_bytes())?;
    device.write(0, Register::Length as u64, &length.to_le_bytes())?;
    device.write(0, Register::Command as u64, &1u32.to_le_bytes())?;
    let (mut status, mut fault) = ([0; 4], [0; 8]);
    device.read(0, Register::Status as u64, &mut status)?;
    device.read(0, Register::Fault as u64, &mut fault)?;
    if u32::from_le_bytes(status) == 1 {
        println!("  done");
    } else {
        println!("  failed at {:#x}", u64::from_le_bytes(fault));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    // A machine without any other device. No IOMMU sees a mediated device; it needs its owner's domain only.
    let cohorts = Cohorts::new(&Topology::new(Vec::new())?);
    let table = CohortTable::new(cohorts, shared::Printing::default())?;
    let memory = Memory(Mutex::new([0; 4 * PAGE as usize]));
    memory.write(HostPhys(START), b"hello")?;

    let mut copier: Copier<Guest, &Memory> = Copier::new(MediatedId(0), Guest);
    if let Err(refusal) = copy(&mut copier, 0, PAGE, 5) {
        println!("{} has no memory yet: {refusal}", copier.id());
    }

    println!("opening it:");
    let map = |page: u64, access| Mapping {
        iova: Iova(page * PAGE),
        host: HostPhys(START + page * PAGE),
        size: PAGE,
        access,
    };
    let both = Access::READ | Access::WRITE;
    let domain = table.domain(
        Owner::Guest(1),
        vec![map(0, both), map(1, both), map(2, Access::READ)],
    )?;
    mediated::open(&mut copier, &domain, &memory)?;
    copier.set_irqs(&IrqRequest {
        index: 0,
        range: IrqRange { start: 0, count: 1 },
        action: IrqAction::Signal(&[true]),
    })?;

    copy(&mut copier, 0, PAGE, 5)?;
    let mut copied = [0; 5];
    memory.read(HostPhys(START + PAGE), &mut copied)?;
    println!("the guest finds {:?}", String::from_utf8_lossy(&copied));
    // Page 2 is mapped to be read only, and page 3 is not mapped.
    copy(&mut copier, 0, 2 * PAGE, 5)?;
    copy(&mut copier, 3 * PAGE, 0, 5)?;

    // The device keeps its count of copies in a page, which it has pinned; it is told before that is unmapped.
    copier.write(0, Register::Record as u64, &PAGE.to_le_bytes())?;
    copier.write(0, Register::Command as u64, &2u32.to_le_bytes())?;
    println!(
        "unmapping the page that it has pinned: {:#x} bytes",
        domain.unmap(Iova(PAGE), PAGE)?
    );

    println!("closing:");
    mediated::close(&mut copier)?;
    let memory = domain.close().map_err(|in_use| in_use.to_string())?;
    println!("{} regions of memory are free again", memory.len());
    Ok(())
}
