//! Changes of one domain that meet: mappings, attaching, and memory that software reads or has pinned.

use super::*;
use crate::domain::{DmaError, HostMemory, PinError};
use crate::lease::{JoinRefusal, Release, UnmapListener};
use crate::mediated::MediatedId;

const PAGE: Mapping = Mapping {
    iova: Iova(0x1000),
    host: HostPhys(0x1000),
    size: 0x1000,
    access: Access::READ,
};

/// Two CPUs map the same place and unmap it: at most one has it at a time, and in the end nobody has.
#[test]
fn loom_two_cpus_change_one_domain() {
    fn change<'t>(domain: &Domain<'t, Platform>) -> bool {
        match domain.map(PAGE) {
            Ok(()) => {}
            Err(MapFailure::Busy | MapFailure::Refused(MapError::Overlap { .. })) => return false,
            Err(other) => panic!("{other}"),
        }
        assert_eq!(domain.find(PAGE.iova), Some(PAGE), "nobody else may unmap it");
        match domain.unmap(PAGE.iova, PAGE.size) {
            Ok(bytes) => assert_eq!(bytes, 0x1000),
            Err(UnmapFailure::Busy) => assert_eq!(domain.mappings().len(), 1),
            Err(other) => panic!("{other}"),
        }
        true
    }
    loom::model(|| {
        let (table, device) = one_device();
        let kept = Arc::new(table);
        let table = lend(&kept);
        let domain = Arc::new(table.domain(Owner::Hypervisor, Vec::new()).unwrap());
        let plan = table.plan_open(Owner::Hypervisor, &[device], false).unwrap();
        let leases = table.open(&plan, &domain).unwrap();
        let other = {
            let domain = Arc::clone(&domain);
            thread::spawn(move || change(&domain))
        };
        let mine = change(&domain);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must have had a turn");
        drop(leases);
        drop(domain);
        drop(kept);
    });
}

/// A device comes into a domain while a mapping is made: whichever is first, the device's unit maps what the domain does.
#[test]
fn loom_attach_against_map() {
    loom::model(|| {
        let (table, device) = one_device();
        let kept = Arc::new(table);
        let table = lend(&kept);
        let domain = Arc::new(table.domain(Owner::Hypervisor, Vec::new()).unwrap());
        let mapper = {
            let domain = Arc::clone(&domain);
            thread::spawn(move || match domain.map(PAGE) {
                Ok(()) => true,
                Err(MapFailure::Busy) => false,
                Err(other) => panic!("{other}"),
            })
        };
        let plan = table.plan_open(Owner::Hypervisor, &[device], false).unwrap();
        let opened = table.open(&plan, &domain);
        let mapped = mapper.join().unwrap();
        assert_eq!(domain.find(PAGE.iova), mapped.then_some(PAGE));
        match &opened {
            Ok(_) => assert_eq!(table.platform().mapped.load(Ordering::SeqCst), u32::from(mapped)),
            Err(OpenFailure::Domain(JoinRefusal::Busy) | OpenFailure::Failed(_)) => {
                assert!(mapped, "nobody else was in the way");
                assert_eq!(table.platform().attached.load(Ordering::SeqCst), 0);
            }
            Err(other) => panic!("{other}"),
        }
        drop(opened);
        drop(domain);
        drop(kept);
    });
}

/// Memory that may be used for something else once it is unmapped.
struct Lent {
    taken_back: Arc<AtomicU32>,
}

impl HostMemory for Lent {
    fn read(&self, _: HostPhys, _: &mut [u8]) -> Result<(), Fault> {
        assert_eq!(
            self.taken_back.load(Ordering::SeqCst),
            0,
            "read after it was unmapped"
        );
        Ok(())
    }

    fn write(&self, _: HostPhys, _: &[u8]) -> Result<(), Fault> {
        Err(Fault::Rejected)
    }
}

/// Lets go of nothing.
struct Deaf;

impl UnmapListener for Deaf {
    fn unmapping(&self, _: IovaRange, _: &Release<'_>) {}
}

/// Lets go of everything.
struct Obedient;

impl UnmapListener for Obedient {
    fn unmapping(&self, _: IovaRange, release: &Release<'_>) {
        release.all();
    }
}

/// Runs `software` beside an unmap of the only page, whose memory is taken back when that is done; says how both went.
fn beside_an_unmap<R>(
    listener: alloc::sync::Arc<dyn UnmapListener>,
    software: impl FnOnce(&crate::lease::SoftwareDma<Lent>) -> R,
) -> (R, Result<u64, UnmapFailure>) {
    let kept = Arc::new(one_device().0);
    let domain = Arc::new(lend(&kept).domain(Owner::Hypervisor, Vec::from([PAGE])).unwrap());
    let taken_back = Arc::new(AtomicU32::new(0));
    let memory = Lent {
        taken_back: Arc::clone(&taken_back),
    };
    let device = domain.software(MediatedId(0), memory, listener).unwrap();
    let unmapper = {
        let domain = Arc::clone(&domain);
        thread::spawn(move || {
            let done = domain.unmap(PAGE.iova, PAGE.size);
            if done.is_ok() {
                taken_back.store(1, Ordering::SeqCst);
            }
            done
        })
    };
    let software = software(&device);
    let unmapped = unmapper.join().unwrap();
    assert_eq!(domain.find(PAGE.iova).is_none(), unmapped.is_ok());
    drop(device);
    drop(domain);
    drop(kept);
    (software, unmapped)
}

#[test]
fn loom_read_against_unmap() {
    loom::model(|| {
        let read = |device: &crate::lease::SoftwareDma<Lent>| device.read(PAGE.iova, &mut [0; 4]);
        let (read, unmapped) = beside_an_unmap(alloc::sync::Arc::new(Deaf), read);
        assert_eq!(unmapped, Ok(PAGE.size));
        assert!(matches!(read, Ok(()) | Err(DmaError::NotMapped(_))), "{read:?}");
    });
}

/// What is pinned is not unmapped, and what is being unmapped is not pinned.
#[test]
fn loom_pin_against_unmap() {
    loom::model(|| {
        let pin = |device: &crate::lease::SoftwareDma<Lent>| device.pin(PAGE.iova, PAGE.size, Access::READ);
        let (pinned, unmapped) = beside_an_unmap(alloc::sync::Arc::new(Deaf), pin);
        match (pinned, unmapped) {
            (Ok(_), Err(UnmapFailure::Pinned { .. })) => {}
            (Err(PinError::Unmapping(_) | PinError::Dma(DmaError::NotMapped(_))), Ok(_)) => {}
            (pinned, unmapped) => panic!("{pinned:?} and {unmapped:?}"),
        }
    });
}

/// A device that lets go when it is told to keeps nobody from unmapping, whenever it pins and unpins.
#[test]
fn loom_pin_and_unpin_against_unmap() {
    loom::model(|| {
        let both = |device: &crate::lease::SoftwareDma<Lent>| {
            let pinned = device.pin(PAGE.iova, PAGE.size, Access::READ).is_ok();
            // It may have been taken away meanwhile.
            let unpinned = device.unpin(PAGE.iova, PAGE.size).is_ok();
            assert!(pinned || !unpinned);
            assert_eq!(device.pinned_pages(), 0);
        };
        let ((), unmapped) = beside_an_unmap(alloc::sync::Arc::new(Obedient), both);
        assert_eq!(unmapped, Ok(PAGE.size));
    });
}
