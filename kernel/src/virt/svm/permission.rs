//! Permission maps: which ports and MSRs a guest reaches by itself. Everything starts denied.

use alloc::boxed::Box;
use spec::svm::{IOPM_BYTES, MSRPM_BYTES};

/// The I/O permission map: a set bit intercepts (manual volume 2, section 15.10.1).
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct IoPermissions([u8; IOPM_BYTES]);

impl IoPermissions {
    /// Every port intercepted.
    #[must_use]
    pub fn deny_all() -> Box<Self> {
        Box::new(Self([0xff; IOPM_BYTES]))
    }

    /// Whether an access to `port` leaves the guest.
    #[must_use]
    pub fn intercepts(&self, port: u16) -> bool {
        self.0[usize::from(port / 8)] & 1 << (port % 8) != 0
    }
}

/// The MSR permission map: two bits an MSR, for reads and writes (manual volume 2, section 15.11).
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct MsrPermissions([u8; MSRPM_BYTES]);

impl MsrPermissions {
    /// Every MSR intercepted.
    #[must_use]
    pub fn deny_all() -> Box<Self> {
        Box::new(Self([0xff; MSRPM_BYTES]))
    }

    /// Lets the guest read and write `msr` by itself. Registers outside the map's ranges stay intercepted.
    pub fn allow(&mut self, msr: u32) {
        if let Some((byte, shift)) = Self::place(msr) {
            self.0[byte] &= !(3 << shift);
        }
    }

    /// Whether an access to `msr` leaves the guest.
    #[must_use]
    pub fn intercepts(&self, msr: u32) -> bool {
        Self::place(msr).is_none_or(|(byte, shift)| self.0[byte] >> shift & 3 != 0)
    }

    fn place(msr: u32) -> Option<(usize, u32)> {
        let (base, index) = match msr {
            0..=0x1fff => (0, msr),
            0xc000_0000..=0xc000_1fff => (0x800, msr - 0xc000_0000),
            0xc001_0000..=0xc001_1fff => (0x1000, msr - 0xc001_0000),
            _ => return None,
        };
        Some((base + index as usize / 4, index % 4 * 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_denied_until_allowed() {
        let mut msrs = MsrPermissions::deny_all();
        let ports = IoPermissions::deny_all();
        assert!((0..=u16::MAX).all(|port| ports.intercepts(port)));
        for msr in [0, 0x1fff, 0x2000, 0xc000_0100, 0xc001_1fff, u32::MAX] {
            assert!(msrs.intercepts(msr), "{msr:#x}");
            msrs.allow(msr);
        }
        assert!(
            !msrs.intercepts(0xc000_0100) && msrs.intercepts(0xc000_0101) && msrs.intercepts(0xc000_00ff)
        );
        assert!(msrs.intercepts(0x2000), "outside the map's ranges");
    }
}
