//! A transfer over a guest's network that proves itself: how host tool and guest check it end to end.
//!
//! The guest connects to [`ADDRESS`], [`PORT`] by TCP and sends [`HELLO`]. The host sends [`SECTORS`] sectors of
//! [`Kind::Supplied`](crate::disk::Kind), with a seed that it picks for this run. The guest checks each, and sends as many
//! of [`Kind::Written`](crate::disk::Kind) back, with the same seed. The host checks those and answers with
//! [`CONFIRMED`], or with anything else.

/// Where the host listens, as the guest sees it: in QEMU's user network, where nothing else is.
pub const ADDRESS: [u8; 4] = [10, 0, 2, 100];

/// The TCP port.
pub const PORT: u16 = 7000;

/// What the guest begins with.
pub const HELLO: [u8; 8] = *b"COHORTn1";

/// Sectors in each direction.
pub const SECTORS: u64 = 1024;

/// All that was received holds.
pub const CONFIRMED: u8 = b'y';

/// Something does not hold.
pub const REFUSED: u8 = b'n';
