//! Regions of open objects: mapped, trapped, or neither.

use super::*;
use crate::device::MemoryType;

#[test]
fn regions_follow_the_type_and_what_the_firmware_says() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let region = |id, access| {
        let device = world.open(id, access).unwrap();
        let info = device.region(0).unwrap();
        assert_eq!(device.region(1), None);
        assert!(device.can_reset());
        info
    };
    let trapped = RegionFlags::READ | RegionFlags::WRITE;
    for access in [PortalAccess::Mapped, PortalAccess::Trapped] {
        let container = region(DPRC, access);
        assert_eq!(
            (container.flags, container.mappable.len()),
            (trapped, 0),
            "never mapped"
        );
        let queue = region(DPIO, access);
        assert_eq!((queue.flags, queue.size), (RegionFlags::MAP, 0x1_0000));
        assert_eq!(queue.mappable[0].memory_type, MemoryType::Cached);
        assert_eq!(queue.mappable[0].address.0, PORTALS + 0x400_0000);
    }
    assert_eq!(region(DPMCP, PortalAccess::Trapped).flags, trapped);
    let mapped = region(DPMCP, PortalAccess::Mapped);
    assert_eq!(
        (mapped.flags, mapped.mappable[0].memory_type),
        (RegionFlags::MAP, MemoryType::Device)
    );
    assert_eq!(world.trapped(DPNI).region(0), None);
    let mut queue = world.trapped(DPIO);
    assert_eq!(queue.read(0, 0, &mut [0; 64]), Err(AccessError::Denied));
}

#[test]
fn a_portal_that_is_not_whole_pages_can_only_trap() {
    use crate::fsl_mc::spec::dprc::RegionAttributes;
    let region = |kind, size, address| ObjectRegion {
        kind,
        address: HostPhys(address),
        size,
        attributes: RegionAttributes::CACHEABLE,
    };
    let old = describe(
        ObjectType::Dpmcp,
        &region(RegionKind::Command, 64, PORTALS),
        PortalAccess::Mapped,
    );
    assert_eq!(
        (old.flags, old.size),
        (RegionFlags::READ | RegionFlags::WRITE, 64)
    );
    let odd = describe(
        ObjectType::Dpio,
        &region(RegionKind::Queue, 0x1000, PORTALS + 64),
        PortalAccess::Mapped,
    );
    assert!(odd.flags.is_empty() && odd.mappable.is_empty());
    let io = describe(
        ObjectType::Dpio,
        &region(RegionKind::Queue, 0x1000, PORTALS),
        PortalAccess::Mapped,
    );
    assert_eq!(
        io.mappable[0].memory_type,
        MemoryType::Device,
        "cacheable alone is not enough"
    );
}
