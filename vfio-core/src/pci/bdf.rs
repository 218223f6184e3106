//! The name of a PCI function: segment, bus, device, function.

use core::fmt;
use core::str::FromStr;

/// A PCI function's address (PCI Express Base Specification 6.0, section 2.2.6.2, with the segment
/// group of ACPI's MCFG). Written as `0000:01:00.1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bdf {
    segment: u16,
    bus: u8,
    devfn: u8,
}

impl Bdf {
    /// The function `function` (0 to 7) of the device `device` (0 to 31); higher bits are dropped.
    #[must_use]
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Self {
        Self::from_devfn(segment, bus, (device & 0x1f) << 3 | (function & 7))
    }

    /// The function whose device and function numbers are packed in `devfn` (device in bits 7:3).
    #[must_use]
    pub const fn from_devfn(segment: u16, bus: u8, devfn: u8) -> Self {
        Self { segment, bus, devfn }
    }

    /// The function that has `requester_id` (bus in bits 15:8, devfn in bits 7:0) in `segment`.
    #[must_use]
    pub const fn from_requester_id(segment: u16, requester_id: u16) -> Self {
        Self::from_devfn(segment, (requester_id >> 8) as u8, requester_id as u8)
    }

    /// PCI segment group.
    #[must_use]
    pub const fn segment(self) -> u16 {
        self.segment
    }

    /// Bus number, 0 to 255.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// Device (slot) number, 0 to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.devfn >> 3
    }

    /// Function number, 0 to 7.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.devfn & 7
    }

    /// Device and function numbers as one byte.
    #[must_use]
    pub const fn devfn(self) -> u8 {
        self.devfn
    }

    /// The 16-bit requester id that the function's own transactions carry.
    #[must_use]
    pub const fn requester_id(self) -> u16 {
        (self.bus as u16) << 8 | self.devfn as u16
    }
}

/// The text of an address. Numbers are written by hand: addresses are most of what a hypervisor says while it starts.
#[derive(Clone, Copy)]
pub(crate) struct BdfText([u8; 12]);

impl BdfText {
    /// `0000:01:00.1`
    pub(crate) const fn new(bdf: Bdf) -> Self {
        const fn digit(value: u8) -> u8 {
            match value & 0xf {
                value @ 0..=9 => b'0' + value,
                value => b'a' + (value - 10),
            }
        }
        let [high, low] = bdf.segment.to_be_bytes();
        Self([
            digit(high >> 4),
            digit(high),
            digit(low >> 4),
            digit(low),
            b':',
            digit(bdf.bus >> 4),
            digit(bdf.bus),
            b':',
            digit(bdf.device() >> 4),
            digit(bdf.device()),
            b'.',
            digit(bdf.function()),
        ])
    }

    /// All of it.
    pub(crate) fn whole(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Segment and bus: `0000:01`.
    pub(crate) fn bus(&self) -> &str {
        self.whole().get(..7).unwrap_or_default()
    }

    /// Segment, bus and slot: `0000:01:00`.
    pub(crate) fn slot(&self) -> &str {
        self.whole().get(..10).unwrap_or_default()
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BdfText::new(*self).whole())
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a text that should name a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PCI address: write it as 0000:01:00.1 (segment:bus:device.function, hexadecimal)")]
pub struct ParseBdfError;

impl FromStr for Bdf {
    type Err = ParseBdfError;

    /// Reads `0000:01:00.1`, or `01:00.1` for segment 0.
    fn from_str(text: &str) -> Result<Self, ParseBdfError> {
        let (rest, function) = text.rsplit_once('.').ok_or(ParseBdfError)?;
        let (rest, device) = rest.rsplit_once(':').ok_or(ParseBdfError)?;
        let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
        let segment = hex(segment, 0xffff)?;
        let bus = hex(bus, 0xff)? as u8;
        let device = hex(device, 0x1f)? as u8;
        let function = hex(function, 7)? as u8;
        Ok(Self::new(segment, bus, device, function))
    }
}

/// A hexadecimal number of at most four digits and at most `max`.
fn hex(text: &str, max: u16) -> Result<u16, ParseBdfError> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ParseBdfError);
    }
    let value = u16::from_str_radix(text, 16).map_err(|_| ParseBdfError)?;
    if value > max {
        Err(ParseBdfError)
    } else {
        Ok(value)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::testing::scaled;
    use std::string::ToString;

    #[test]
    fn what_is_printed_reads_back() {
        for id in (0..=u16::MAX).step_by(scaled(1, 509)) {
            let bdf = Bdf::from_requester_id(0xabc, id);
            assert_eq!(bdf.to_string().parse(), Ok(bdf));
            assert_eq!(bdf.requester_id(), id);
            let (bus, device, function) = (bdf.bus(), bdf.device(), bdf.function());
            assert_eq!(
                bdf.to_string(),
                std::format!("0abc:{bus:02x}:{device:02x}.{function}")
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "00:00",
            "0:20.0",
            "0:0.8",
            "x:0.0",
            "00000:0:0.0",
            "0:-1.0",
            "0:+1.0",
            "1ff:0.0",
        ] {
            assert_eq!(text.parse::<Bdf>(), Err(ParseBdfError), "{text}");
        }
    }
}
