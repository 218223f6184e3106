//! Messages that mean an interrupt, and the pages around the MSI-X table. How BARs are cut is tested in `vfio-core`.

use super::super::fixture::bar64;
use super::*;
use crate::pci::TableLocation;

#[test]
fn only_messages_that_hit_a_vcpu_are_routed() {
    let routed = |address, data| route(Message { address, data }, 2).map(|route| (route.apic, route.vector));
    assert_eq!(routed(0xfee0_1000, 0x41), Some((1, 0x41)));
    assert_eq!(routed(0xfee0_0000, 0x0141), Some((0, 0x41)), "lowest priority");
    for (address, data) in [
        (0xfee0_2000, 0x41),   // an APIC that the guest lacks
        (0x1000, 0x41),        // memory
        (0x1_fee0_1000, 0x41), // above 4 GiB
        (0xfee0_1004, 0x41),   // logical
        (0xfee0_1000, 0x0f),   // a reserved vector
        (0xfee0_1000, 0x441),  // NMI
    ] {
        assert_eq!(routed(address, data), None, "{address:x} {data:x}");
    }
}

#[test]
fn what_needs_no_trap_is_mapped_where_the_bar_answers() {
    // QEMU's NVMe controller: table at 0x2000, pending bits at 0x3000 of 16 KiB.
    let location = |offset, length| TableLocation {
        bar: 0,
        offset,
        length,
    };
    let msix = MsiX {
        offset: 0x40,
        vectors: 65,
        table: location(0x2000, 65 * 16),
        pending: location(0x3800, 16),
    };
    let bar = bar64(0, 0xfe00_0000, 0x8000);
    let parts: Vec<_> = direct(&bar, Some(&msix), 0x40_0000_0000)
        .map(|part| (part.gpa.0, part.hpa.0, part.size, part.rights))
        .collect();
    let expected = [
        (0x40_0000_0000, 0xfe00_0000, 0x2000, Rights::DEVICE),
        (0x40_0000_4000, 0xfe00_4000, 0x4000, Rights::DEVICE),
    ];
    assert_eq!(parts, expected);
    assert_eq!(
        direct(&bar64(0, 0xfe00_0000, 0x100), None, 0xc000_0000).count(),
        0
    );
}
