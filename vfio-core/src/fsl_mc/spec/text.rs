//! Strings in a frame: 16 bytes, the last of which used is NUL.

use core::fmt;

use super::frame::{Field, Frame, Malformed, at};
use crate::fsl_mc::ObjectType;

/// Printable ASCII, at most 15 bytes: a type or a label.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Text([u8; 16]);

impl Text {
    /// The string, if it is printable ASCII of at most 15 bytes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let good = text.len() < 16 && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        good.then_some(Self(bytes))
    }

    /// It as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// The object type of this name.
    #[must_use]
    pub fn object_type(&self) -> Option<ObjectType> {
        ObjectType::from_name(self.as_str())
    }
}

impl From<ObjectType> for Text {
    fn from(kind: ObjectType) -> Self {
        Self::new(kind.name()).unwrap_or_default()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Field for Text {
    const SIZE: usize = 16;
    const ALIGN: usize = 1;

    fn read(frame: &Frame, offset: usize) -> Result<Self, Malformed> {
        let bytes: [u8; 16] = frame.take(offset);
        let length = bytes.iter().position(|byte| *byte == 0);
        let length = length.ok_or(Malformed::NoEnd(at(offset)))?;
        let text = bytes.iter().take(length);
        let text = core::str::from_utf8(bytes.get(..length).unwrap_or_default())
            .ok()
            .filter(|_| text.clone().all(|byte| (0x20..0x7f).contains(byte)));
        // What follows the NUL is nobody's business.
        text.and_then(Self::new).ok_or(Malformed::NotText(at(offset)))
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        frame.fill(offset, &self.0);
    }
}
