//! The frame: 64 bytes, of which 8 are the header and 56 are parameters or an answer.

use super::header::Header;
use crate::fsl_mc::ObjectType;

/// Quadwords of a frame.
pub const QWORDS: usize = 8;
const BYTES: usize = 8 * QWORDS;

/// Why an answer, or a guest's command, makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// A frame has 64 bytes.
    #[error("a frame has 64 bytes, not {0}")]
    Length(usize),
    /// A string that does not end.
    #[error("the string at byte {0} does not end")]
    NoEnd(u8),
    /// A string with bytes that are not printable ASCII.
    #[error("the string at byte {0} is not text")]
    NotText(u8),
    /// An object type that is not known.
    #[error("the object type at byte {0} is not known")]
    UnknownType(u8),
    /// A value outside its range.
    #[error("the value at byte {0} is out of range")]
    Value(u8),
}

/// One frame, as it lies in a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame([u8; BYTES]);

impl Frame {
    /// All zero.
    pub const EMPTY: Self = Self([0; BYTES]);

    /// These bytes.
    #[must_use]
    pub const fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// These bytes, whoever they are from.
    ///
    /// # Errors
    /// There are not 64 of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| Malformed::Length(bytes.len()))
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// A frame with this header and these parameters.
    #[must_use]
    pub fn with(header: Header, body: &impl Layout) -> Self {
        let mut frame = Self::EMPTY;
        body.put(&mut frame);
        frame.set_header(header);
        frame
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> Header {
        Header::from_bits(self.qword(0))
    }

    /// Replaces its header.
    pub fn set_header(&mut self, header: Header) {
        self.set_qword(0, header.into_bits());
    }

    /// A quadword; 0 beyond the last.
    #[must_use]
    pub fn qword(&self, index: usize) -> u64 {
        u64::from_le_bytes(self.take(index.saturating_mul(8)))
    }

    /// Replaces a quadword; none beyond the last.
    pub fn set_qword(&mut self, index: usize, value: u64) {
        self.fill(index.saturating_mul(8), &value.to_le_bytes());
    }

    /// The field at byte `OFFSET`.
    ///
    /// # Errors
    /// The bytes there are none of its values.
    pub fn get<const OFFSET: usize, F: Field>(&self) -> Result<F, Malformed> {
        const { assert!(OFFSET >= 8 && OFFSET + F::SIZE <= BYTES && OFFSET.is_multiple_of(F::ALIGN)) };
        F::read(self, OFFSET)
    }

    /// Sets the field at byte `OFFSET`.
    pub fn put<const OFFSET: usize, F: Field>(&mut self, value: F) {
        const { assert!(OFFSET >= 8 && OFFSET + F::SIZE <= BYTES && OFFSET.is_multiple_of(F::ALIGN)) };
        value.write(self, OFFSET);
    }

    /// `N` bytes; zeros beyond the end.
    pub(super) fn take<const N: usize>(&self, offset: usize) -> [u8; N] {
        let there = self.0.get(offset..).unwrap_or_default();
        there.first_chunk().copied().unwrap_or_else(|| {
            let mut bytes = [0; N];
            for (to, from) in bytes.iter_mut().zip(there) {
                *to = *from;
            }
            bytes
        })
    }

    /// Writes bytes; none beyond the end.
    pub(super) fn fill(&mut self, offset: usize, bytes: &[u8]) {
        let there = self.0.get_mut(offset..).unwrap_or_default();
        let length = there.len().min(bytes.len());
        if let (Some(to), Some(from)) = (there.get_mut(..length), bytes.get(..length)) {
            to.copy_from_slice(from);
        }
    }
}

/// What a field of a frame holds.
pub trait Field: Sized {
    /// Its bytes.
    const SIZE: usize;
    /// What its offset is a multiple of.
    const ALIGN: usize;

    /// Reads it.
    ///
    /// # Errors
    /// The bytes are none of its values.
    fn read(frame: &Frame, offset: usize) -> Result<Self, Malformed>;

    /// Writes it.
    fn write(self, frame: &mut Frame, offset: usize);
}

macro_rules! integer {
    ($($kind:ty),*) => { $(
        impl Field for $kind {
            const SIZE: usize = size_of::<$kind>();
            const ALIGN: usize = Self::SIZE;

            fn read(frame: &Frame, offset: usize) -> Result<Self, Malformed> {
                Ok(Self::from_le_bytes(frame.take(offset)))
            }

            fn write(self, frame: &mut Frame, offset: usize) {
                frame.fill(offset, &self.to_le_bytes());
            }
        }
    )* };
}
integer!(u8, u16, u32, u64, i32);

/// An offset as an error names it: always below 64.
pub(super) fn at(offset: usize) -> u8 {
    u8::try_from(offset).unwrap_or(u8::MAX)
}

impl Field for bool {
    const SIZE: usize = 1;
    const ALIGN: usize = 1;

    fn read(frame: &Frame, offset: usize) -> Result<Self, Malformed> {
        match u8::read(frame, offset)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value(at(offset))),
        }
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        u8::from(self).write(frame, offset);
    }
}

impl Field for ObjectType {
    const SIZE: usize = 16;
    const ALIGN: usize = 1;

    fn read(frame: &Frame, offset: usize) -> Result<Self, Malformed> {
        let text = super::Text::read(frame, offset)?;
        text.object_type().ok_or(Malformed::UnknownType(at(offset)))
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        super::Text::from(self).write(frame, offset);
    }
}

/// What the 56 bytes after the header mean.
pub trait Layout: Sized {
    /// Writes its fields; bytes between them stay as they are.
    fn put(&self, frame: &mut Frame);

    /// Reads its fields.
    ///
    /// # Errors
    /// A field has a value that it cannot have.
    fn get(frame: &Frame) -> Result<Self, Malformed>;
}

/// No parameters, or no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nothing;

impl Layout for Nothing {
    fn put(&self, _: &mut Frame) {}

    fn get(_: &Frame) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

/// A layout: each field with its byte offset, which is checked when this compiles.
macro_rules! layout {
    ($(#[$doc:meta])* $name:ident {}) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl $crate::fsl_mc::spec::Layout for $name {
            fn put(&self, _: &mut $crate::fsl_mc::spec::Frame) {}

            fn get(
                _: &$crate::fsl_mc::spec::Frame,
            ) -> Result<Self, $crate::fsl_mc::spec::Malformed> {
                Ok(Self)
            }
        }
    };
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $offset:literal $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $crate::fsl_mc::spec::Layout for $name {
            fn put(&self, frame: &mut $crate::fsl_mc::spec::Frame) {
                $(frame.put::<$offset, $kind>(self.$field);)*
            }

            fn get(
                frame: &$crate::fsl_mc::spec::Frame,
            ) -> Result<Self, $crate::fsl_mc::spec::Malformed> {
                Ok(Self { $($field: frame.get::<$offset, $kind>()?,)* })
            }
        }
    };
}
pub(super) use layout;

/// Flags in a field; unknown bits are dropped when it is read.
macro_rules! flags_field {
    ($flags:ty, $bits:ty) => {
        impl $crate::fsl_mc::spec::Field for $flags {
            const SIZE: usize = size_of::<$bits>();
            const ALIGN: usize = Self::SIZE;

            fn read(
                frame: &$crate::fsl_mc::spec::Frame,
                offset: usize,
            ) -> Result<Self, $crate::fsl_mc::spec::Malformed> {
                <$bits as $crate::fsl_mc::spec::Field>::read(frame, offset).map(Self::from_bits_truncate)
            }

            fn write(self, frame: &mut $crate::fsl_mc::spec::Frame, offset: usize) {
                $crate::fsl_mc::spec::Field::write(self.bits(), frame, offset);
            }
        }
    };
}
pub(super) use flags_field;
