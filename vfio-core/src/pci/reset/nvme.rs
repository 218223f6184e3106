//! Stopping an NVMe controller, which some of them need before a function level reset
//! (NVM Express Base Specification 2.0, sections 3.1.3 and 3.6).

use super::until;
use crate::clock::{Clock, MILLISECOND};
use crate::fault::Fault;
use crate::pci::config::{Function, MmioAccess};

/// Low half of the capabilities: the time-out is in bits 31:24, in units of 500 ms.
const CAPABILITIES: u64 = 0x00;
/// Controller configuration.
const CONFIGURATION: u64 = 0x14;
/// Bits of it: shutdown notification.
const SHUTDOWN: u32 = 3 << 14;
/// Bit of it: enabled.
const ENABLE: u32 = 1;
/// Controller status.
const STATUS: u64 = 0x1c;
/// Bit of it: ready.
const READY: u32 = 1;
/// Registers up to the status.
const SIZE: u64 = 0x20;
/// A controller may claim 127.5 s; a hypervisor does not wait that long.
const LIMIT: u64 = 10_000 * MILLISECOND;

/// Class code of an NVMe controller.
const CLASS_NVME: u32 = 0x01_0802;

/// Disables the controller `function` through its registers, which must decode, and waits until it is not ready.
///
/// # Errors
/// It is no NVMe controller with registers ([`Fault::Unknown`]), is gone, or stays ready.
pub fn disable_nvme(
    mmio: &mut impl MmioAccess,
    clock: &impl Clock,
    function: &Function,
) -> Result<(), Fault> {
    let usable = function
        .bar(0)
        .filter(|bar| bar.is_memory() && bar.address != 0 && bar.size >= SIZE);
    let base = usable
        .filter(|_| function.class == CLASS_NVME)
        .ok_or(Fault::Unknown)?
        .address;
    let configuration = mmio.read32(base + CONFIGURATION);
    if configuration == u32::MAX {
        return Err(Fault::Gone);
    }
    if configuration & ENABLE == 0 {
        return Ok(());
    }
    mmio.write32(base + CONFIGURATION, configuration & !(SHUTDOWN | ENABLE));
    let claimed = u64::from(mmio.read32(base + CAPABILITIES) >> 24) * 500 * MILLISECOND;
    let mut status = u32::MAX;
    let stopped = until(clock, claimed.clamp(500 * MILLISECOND, LIMIT), || {
        status = mmio.read32(base + STATUS);
        status & READY == 0 || status == u32::MAX
    });
    match (stopped, status) {
        (_, u32::MAX) => Err(Fault::Gone),
        (true, _) => Ok(()),
        (false, _) => Err(Fault::TimedOut),
    }
}
