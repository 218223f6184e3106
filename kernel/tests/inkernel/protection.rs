//! The hypervisor's own page tables.

use kernel::memory::{paging, stack};
use x86_64::structures::paging::PageTableFlags as Flags;

static RODATA: [u8; 16] = *b"read only, truly";
static mut DATA: u64 = 1;

pub(crate) fn sections() {
    let rights = |at: u64| paging::rights(at).expect("mapped");
    let text = rights(sections as *const () as u64);
    assert!(
        !text.contains(Flags::WRITABLE) && !text.contains(Flags::NO_EXECUTE),
        "text: {text:?}"
    );
    let rodata = rights(RODATA.as_ptr() as u64);
    assert!(
        !rodata.contains(Flags::WRITABLE) && rodata.contains(Flags::NO_EXECUTE),
        "rodata: {rodata:?}"
    );
    for (what, at) in [
        ("data", &raw const DATA as u64),
        ("stack", &raw const text as u64),
        ("RAM", 0x0200_0000),
    ] {
        let rights = rights(at);
        assert!(
            rights.contains(Flags::WRITABLE | Flags::NO_EXECUTE),
            "{what}: {rights:?}"
        );
    }
    let device = rights(0xfee0_0000);
    assert!(
        device.contains(Flags::NO_CACHE | Flags::NO_EXECUTE),
        "device memory: {device:?}"
    );
}

pub(crate) fn guard_pages() {
    const BYTES: usize = 16 << 10;
    let top = stack::allocate(BYTES).expect("a stack");
    let bottom = top - BYTES as u64;
    assert!(paging::rights(top - 8).is_some() && paging::rights(bottom).is_some());
    assert!(paging::rights(bottom - 8).is_none(), "below the stack");
    // The boot stack is 64 KiB: somewhere within that distance below here the guard page must be.
    let here = &raw const top as u64 & !0xfff;
    assert!(
        (0..=16).any(|page| paging::rights(here - page * 0x1000).is_none()),
        "below the boot stack"
    );
}

pub(crate) fn page_zero() {
    assert!(paging::rights(0).is_none() && paging::rights(0x1000).is_some());
}
