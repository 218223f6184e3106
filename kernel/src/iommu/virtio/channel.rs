//! The narrow way to a virtio-iommu device: configuration, one request at a time, faults.
//!
//! The machine's channel is [`PciChannel`](super::PciChannel); host tests put a device there that misbehaves.

use spec::virtio_iommu::{Config, Fault};

/// Bytes of the device's configuration.
pub const CONFIG_BYTES: usize = size_of::<Config>();
/// Bytes of one fault.
pub const FAULT_BYTES: usize = size_of::<Fault>();
/// The longest request or answer that a channel must carry.
pub const MAX_MESSAGE: usize = 4096;

/// Why the device could not be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// It does not leave reset.
    #[error("the device does not finish its reset")]
    Reset,
    /// It refuses the features that it offered.
    #[error("the device refuses the features that it offered itself")]
    Features,
    /// Its configuration cannot be read or written.
    #[error("the device's configuration is not accessible, or never stands still")]
    Config,
    /// A queue cannot be set up.
    #[error("a virtqueue cannot be set up: it is missing, too small or in use")]
    Queue,
    /// No answer in time.
    #[error("the device did not answer in time")]
    Timeout,
    /// It returned a buffer that it was not given, or gave one back twice.
    #[error("the device returned a buffer that it did not have")]
    WrongBuffer,
    /// The request does not fit.
    #[error("the request is larger than the channel carries")]
    TooLong,
    /// No memory for the queues.
    #[error("out of memory for the virtqueues")]
    NoMemory,
}

/// A virtio-iommu device.
///
/// All waits are bounded. After an error of [`submit`](Self::submit) or [`next_fault`](Self::next_fault) the driver
/// does not use the channel any more.
pub trait Channel {
    /// Resets the device and reads the feature bits that it offers.
    ///
    /// # Errors
    ///
    /// If the reset does not end.
    fn offered(&mut self) -> Result<u64, ChannelError>;

    /// Tells the device which of them the driver takes.
    ///
    /// # Errors
    ///
    /// If the device does not agree.
    fn negotiate(&mut self, features: u64) -> Result<(), ChannelError>;

    /// Reads the device's configuration (virtio 1.2, section 5.13.4), consistently.
    ///
    /// # Errors
    ///
    /// If there is none.
    fn config(&mut self) -> Result<[u8; CONFIG_BYTES], ChannelError>;

    /// Writes the configuration field `bypass`.
    ///
    /// # Errors
    ///
    /// If there is none.
    fn set_bypass(&mut self, on: bool) -> Result<(), ChannelError>;

    /// Sets up the queues, gives the device buffers for faults, and tells it that the driver is ready.
    ///
    /// # Errors
    ///
    /// If a queue cannot be set up.
    fn start(&mut self) -> Result<(), ChannelError>;

    /// Sends `request` and waits for the answer in `answer`. Returns how many bytes the device says that it wrote,
    /// which may be any number; bytes that it did not write are as they were.
    ///
    /// # Errors
    ///
    /// If no answer comes, or one to something else.
    fn submit(&mut self, request: &[u8], answer: &mut [u8]) -> Result<usize, ChannelError>;

    /// Takes the next fault, if there is one, and gives the buffer back to the device at once. Bytes that the
    /// device did not write are zero.
    ///
    /// # Errors
    ///
    /// If the device returns what it was not given.
    fn next_fault(&mut self) -> Result<Option<[u8; FAULT_BYTES]>, ChannelError>;
}
