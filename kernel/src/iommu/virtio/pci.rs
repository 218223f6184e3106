//! The machine's channel: virtio-drivers' modern PCI transport and split queues, with what the library leaves to its
//! user.
//!
//! The library panics when a capability names a BAR above 5 or a notification address outside its region, spins for
//! ever when a device does not leave reset on drop, and walks capability lists without a guard. Discovery has checked
//! the function before; [`PciChannel::new`] checks the rest; and the transport is never dropped. Queues and buffers are
//! never freed either: a device that has gone wrong may write to them at any time.

#![expect(
    unsafe_code,
    reason = "buffers are shared with a device, and its registers are mapped by their physical address"
)]

use super::{CONFIG_BYTES, Channel, ChannelError, FAULT_BYTES, MAX_MESSAGE};
use crate::pci::{ConfigAccess, Function, Width, set_bus_master, set_memory_decode};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::hint::spin_loop;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use spec::virtio_iommu::{CONFIG_BYPASS_OFFSET, DEVICE_ID, EVENT_QUEUE, REQUEST_QUEUE};
use vfio_core::clock::Clock;
use vfio_core::pci::spec::virtio::common;
use vfio_core::pci::{Bdf, NotAssignable};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError};
use virtio_drivers::transport::{DeviceStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};

/// Requests are sent one at a time, each of two descriptors.
const REQUEST_ENTRIES: usize = 4;
/// Faults that the device can report before somebody looks.
const EVENT_ENTRIES: usize = 128;
/// How long the device may take to leave reset, and to answer, in nanoseconds.
const LIMIT: u64 = 1_000_000_000;
/// Bound on looks, for a clock that stands still.
const MAX_LOOKS: u32 = 1 << 28;

const _: () = assert!(EVENT_ENTRIES * FAULT_BYTES <= PAGE_SIZE && MAX_MESSAGE <= PAGE_SIZE);

/// Why there is no channel to a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PciChannelError {
    /// The function is no virtio-iommu with a modern interface, or its capabilities make no sense.
    #[error("{0} is no modern virtio-iommu, or says of itself what cannot be")]
    NotAnIommu(Bdf),
    /// The library refuses the transport.
    #[error("{0}: {1}")]
    Transport(Bdf, VirtioPciError),
    /// A queue's notification address is outside the notification region.
    #[error("{0}: the notification address of queue {1} is outside its region")]
    Notify(Bdf, u16),
    /// The function does not take its command bits.
    #[error("{0} cannot be made a bus master")]
    Command(Bdf),
    /// No memory.
    #[error("{0}: out of memory for buffers")]
    NoMemory(Bdf),
}

/// Memory is mapped at its physical address, so sharing costs nothing.
struct IdentityHal;

const fn pages(count: usize) -> Option<Layout> {
    match count.checked_mul(PAGE_SIZE) {
        Some(bytes) => match Layout::from_size_align(bytes, PAGE_SIZE) {
            Ok(layout) => Some(layout),
            Err(_) => None,
        },
        None => None,
    }
}

// SAFETY: `dma_alloc` returns fresh zeroed pages of the global allocator, page-aligned, or address 0, which the library
// takes as failure. Memory and device registers are mapped at their physical addresses (the caller of
// `PciChannel::new` promises it), so `share` and `mmio_phys_to_virt` return what they are given.
unsafe impl Hal for IdentityHal {
    fn dma_alloc(count: usize, _: BufferDirection) -> (u64, NonNull<u8>) {
        let Some(layout) = pages(count).filter(|layout| layout.size() > 0) else {
            return (0, NonNull::dangling());
        };
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        match NonNull::new(memory) {
            Some(memory) => (memory.as_ptr().expose_provenance() as u64, memory),
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: u64, vaddr: NonNull<u8>, count: usize) -> i32 {
        if let Some(layout) = pages(count) {
            // SAFETY: the caller promises that `dma_alloc` returned `vaddr` for `count` pages.
            unsafe { dealloc(vaddr.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: u64, _: usize) -> NonNull<u8> {
        NonNull::new(ptr::with_exposed_provenance_mut(paddr as usize)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> u64 {
        buffer.as_ptr().expose_provenance() as u64
    }

    unsafe fn unshare(_: u64, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// The library's view of configuration space: one segment, the first 256 bytes.
struct LibraryConfig<'a, A> {
    config: &'a A,
    segment: u16,
}

impl<A: ConfigAccess> LibraryConfig<'_, A> {
    const fn bdf(&self, function: DeviceFunction) -> Bdf {
        Bdf::new(self.segment, function.bus, function.device, function.function)
    }
}

impl<A: ConfigAccess> ConfigurationAccess for LibraryConfig<'_, A> {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        self.config.read(self.bdf(function), offset.into(), Width::Dword)
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        self.config
            .write(self.bdf(function), offset.into(), Width::Dword, data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self {
            config: self.config,
            segment: self.segment,
        }
    }
}

/// Modern virtio over PCI.
pub struct PciChannel<K> {
    clock: K,
    transport: ManuallyDrop<PciTransport>,
    queues: Option<ManuallyDrop<Queues>>,
    buffers: Buffers,
}

struct Queues {
    requests: VirtQueue<IdentityHal, REQUEST_ENTRIES>,
    events: VirtQueue<IdentityHal, EVENT_ENTRIES>,
    /// Which piece of the event page a descriptor carries, by descriptor; none if the device does not have it.
    outstanding: [Option<u16>; EVENT_ENTRIES],
}

/// A page each, never freed.
struct Buffers {
    request: NonNull<u8>,
    answer: NonNull<u8>,
    events: NonNull<u8>,
}

// SAFETY: the pages belong to this value alone, whichever processor it is on.
unsafe impl Send for Buffers {}

impl Buffers {
    fn new() -> Option<Self> {
        let page = || match IdentityHal::dma_alloc(1, BufferDirection::Both) {
            (0, _) => None,
            (_, page) => Some(page),
        };
        Some(Self {
            request: page()?,
            answer: page()?,
            events: page()?,
        })
    }

    /// The piece of the event page for `slot`, which is below [`EVENT_ENTRIES`].
    fn event(&self, slot: u16) -> NonNull<[u8]> {
        let offset = usize::from(slot) % EVENT_ENTRIES * FAULT_BYTES;
        // SAFETY: all pieces are inside the page, as asserted above.
        NonNull::slice_from_raw_parts(unsafe { self.events.add(offset) }, FAULT_BYTES)
    }
}

/// Copies what the device has written to the beginning of `page`, which is a multiple of 8.
fn take(page: NonNull<u8>, bytes: &mut [u8]) {
    let mut words = bytes.chunks_exact_mut(8);
    let mut at = page.cast::<u64>();
    for word in &mut words {
        // SAFETY: callers take no more than they gave the device, which is inside a page, and `page` is aligned.
        // Volatile, since the device wrote it and the compiler did not see that.
        word.copy_from_slice(&unsafe { at.read_volatile() }.to_ne_bytes());
        // SAFETY: at most one past the last of these words.
        at = unsafe { at.add(1) };
    }
    let mut at = at.cast::<u8>();
    for byte in words.into_remainder() {
        // SAFETY: as above.
        *byte = unsafe { at.read_volatile() };
        // SAFETY: as above.
        at = unsafe { at.add(1) };
    }
}

impl<K> core::fmt::Debug for PciChannel<K> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PciChannel")
            .field("transport", &*self.transport)
            .finish_non_exhaustive()
    }
}

impl<K: Clock> PciChannel<K> {
    /// A channel to `function`, which discovery has found and described. Memory decoding and bus mastering are on
    /// afterwards.
    ///
    /// # Errors
    ///
    /// If the function is no virtio-iommu that makes sense.
    ///
    /// # Safety
    ///
    /// `config` reaches this machine's configuration space and `function` is as [`scan`](crate::pci::scan) found it
    /// there. Its BARs, and all memory of the global allocator, are mapped writable at their physical addresses, the
    /// BARs uncached. Nobody else drives the function.
    pub unsafe fn new(
        config: &impl ConfigAccess,
        function: &Function,
        clock: K,
    ) -> Result<Self, PciChannelError> {
        let bdf = function.bdf;
        let not = PciChannelError::NotAnIommu(bdf);
        let virtio = function.virtio.filter(|virtio| {
            let regions = [virtio.common, virtio.notify, virtio.isr, virtio.device];
            let placed = |region: crate::pci::VirtioRegion| {
                region.offset.checked_add(region.length).is_some()
                    && function.bar(region.bar).is_some_and(|bar| bar.address != 0)
            };
            virtio.device_id == Some(DEVICE_ID)
                && virtio.is_modern()
                && !virtio.misplaced
                && function.not_assignable != Some(NotAssignable::Malformed)
                && regions.into_iter().all(|region| region.is_some_and(placed))
        });
        let virtio = virtio.ok_or(not.clone())?;
        let (common_region, notify) = virtio.common.zip(virtio.notify).ok_or(not.clone())?;
        let base = function.bar(common_region.bar).ok_or(not)?.address + u64::from(common_region.offset);
        if !set_memory_decode(config, bdf, true) || !set_bus_master(config, bdf, true) {
            return Err(PciChannelError::Command(bdf));
        }
        let mut root = PciRoot::new(LibraryConfig {
            config,
            segment: bdf.segment(),
        });
        let location = DeviceFunction {
            bus: bdf.bus(),
            device: bdf.device(),
            function: bdf.function(),
        };
        let transport = PciTransport::new::<IdentityHal, _>(&mut root, location)
            .map_err(|error| PciChannelError::Transport(bdf, error))?;
        let mut transport = ManuallyDrop::new(transport);
        for queue in [REQUEST_QUEUE, EVENT_QUEUE] {
            // Selects the queue, which is what shows its notification address.
            let _ = transport.max_queue_size(queue);
            let register = base + u64::from(common::QUEUE_NOTIFY_OFF);
            // SAFETY: discovery has checked that the common configuration is inside a BAR, which the caller has
            // mapped; reading this register has no side effect.
            let index = unsafe { ptr::with_exposed_provenance::<u16>(register as usize).read_volatile() };
            let offset = u64::from(index) * u64::from(virtio.notify_multiplier);
            if offset + 2 > u64::from(notify.length) {
                return Err(PciChannelError::Notify(bdf, queue));
            }
        }
        let buffers = Buffers::new().ok_or(PciChannelError::NoMemory(bdf))?;
        Ok(Self {
            clock,
            transport,
            queues: None,
            buffers,
        })
    }

    /// Looks until `done`, at most a second.
    fn until(clock: &K, mut done: impl FnMut() -> bool) -> bool {
        // The answer is most often there at once, and reading the clock costs more than looking.
        if done() {
            return true;
        }
        let start = clock.now();
        for _ in 0..MAX_LOOKS {
            if done() {
                return true;
            }
            if clock.now().saturating_sub(start) > LIMIT {
                break;
            }
            spin_loop();
        }
        done()
    }
}

impl Queues {
    /// Gives the device piece `slot` of the event page.
    fn give(&mut self, buffers: &Buffers, slot: u16) -> Result<(), ChannelError> {
        let mut piece = buffers.event(slot);
        // SAFETY: the piece is inside the event page, and the device does not have it: it was never given, or was
        // taken back. It is not touched again before `pop_used`.
        let token = unsafe {
            piece.as_mut().fill(0);
            self.events.add(&[], &mut [piece.as_mut()])
        };
        let token = token.map_err(|_| ChannelError::Queue)?;
        *self
            .outstanding
            .get_mut(usize::from(token))
            .ok_or(ChannelError::Queue)? = Some(slot);
        Ok(())
    }
}

impl<K: Clock> Channel for PciChannel<K> {
    fn offered(&mut self) -> Result<u64, ChannelError> {
        self.transport.set_status(DeviceStatus::empty());
        let transport = &self.transport;
        if !Self::until(&self.clock, || transport.get_status() == DeviceStatus::empty()) {
            return Err(ChannelError::Reset);
        }
        self.transport
            .set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        Ok(self.transport.read_device_features())
    }

    fn negotiate(&mut self, features: u64) -> Result<(), ChannelError> {
        self.transport.write_driver_features(features);
        let agreed = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
        self.transport.set_status(agreed);
        if self.transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            Ok(())
        } else {
            Err(ChannelError::Features)
        }
    }

    fn config(&mut self) -> Result<[u8; CONFIG_BYTES], ChannelError> {
        for _ in 0..16 {
            let before = self.transport.read_config_generation();
            let mut bytes = [0; CONFIG_BYTES];
            for (at, word) in bytes.chunks_exact_mut(4).enumerate() {
                let value = self.transport.read_config_space::<u32>(at * 4);
                word.copy_from_slice(&value.map_err(|_| ChannelError::Config)?.to_le_bytes());
            }
            if self.transport.read_config_generation() == before {
                return Ok(bytes);
            }
        }
        Err(ChannelError::Config)
    }

    fn set_bypass(&mut self, on: bool) -> Result<(), ChannelError> {
        let written = self
            .transport
            .write_config_space(CONFIG_BYPASS_OFFSET.into(), u8::from(on));
        written.map_err(|_| ChannelError::Config)
    }

    fn start(&mut self) -> Result<(), ChannelError> {
        let failed = |error| match error {
            virtio_drivers::Error::DmaError => ChannelError::NoMemory,
            _ => ChannelError::Queue,
        };
        let requests = VirtQueue::new(&mut *self.transport, REQUEST_QUEUE, false, false).map_err(failed)?;
        // Should the second fail, the first must not be freed under the device.
        let requests = ManuallyDrop::new(requests);
        let events = VirtQueue::new(&mut *self.transport, EVENT_QUEUE, false, false).map_err(failed)?;
        let mut queues = ManuallyDrop::new(Queues {
            requests: ManuallyDrop::into_inner(requests),
            events,
            outstanding: [None; EVENT_ENTRIES],
        });
        for slot in 0..EVENT_ENTRIES as u16 {
            queues.give(&self.buffers, slot)?;
        }
        self.queues = Some(queues);
        self.transport.finish_init();
        self.transport.notify(EVENT_QUEUE);
        Ok(())
    }

    fn submit(&mut self, request: &[u8], answer: &mut [u8]) -> Result<usize, ChannelError> {
        let queues = self.queues.as_mut().ok_or(ChannelError::Queue)?;
        if request.len() > PAGE_SIZE || answer.len() > PAGE_SIZE {
            return Err(ChannelError::TooLong);
        }
        if queues.requests.can_pop() {
            return Err(ChannelError::WrongBuffer);
        }
        // SAFETY: both pages are this value's own and at least as long as the messages; the device has neither, since
        // every earlier request was taken back, or failed and was the last. The slices are not touched between `add`
        // and `pop_used`.
        let (sent, received) = unsafe {
            (
                NonNull::slice_from_raw_parts(self.buffers.request, request.len()).as_mut(),
                NonNull::slice_from_raw_parts(self.buffers.answer, answer.len()).as_mut(),
            )
        };
        sent.copy_from_slice(request);
        received.copy_from_slice(answer);
        // SAFETY: as above.
        let token = unsafe { queues.requests.add(&[sent], &mut [received]) };
        let token = token.map_err(|_| ChannelError::Queue)?;
        self.transport.notify(REQUEST_QUEUE);
        let requests = &queues.requests;
        if !Self::until(&self.clock, || requests.can_pop()) {
            return Err(ChannelError::Timeout);
        }
        if queues.requests.peek_used() != Some(token) {
            return Err(ChannelError::WrongBuffer);
        }
        // SAFETY: these are the slices that were added under this token.
        let written = unsafe { queues.requests.pop_used(token, &[sent], &mut [received]) };
        let written = written.map_err(|_| ChannelError::WrongBuffer)?;
        take(self.buffers.answer, answer);
        Ok(written as usize)
    }

    fn next_fault(&mut self) -> Result<Option<[u8; FAULT_BYTES]>, ChannelError> {
        let queues = self.queues.as_mut().ok_or(ChannelError::Queue)?;
        let Some(token) = queues.events.peek_used() else {
            return Ok(None);
        };
        let outstanding = queues
            .outstanding
            .get_mut(usize::from(token))
            .and_then(Option::take);
        let slot = outstanding.ok_or(ChannelError::WrongBuffer)?;
        let mut piece = self.buffers.event(slot);
        let mut event = [0; FAULT_BYTES];
        // SAFETY: the device has this piece under this token, as `outstanding` said, and gives it back now.
        unsafe {
            queues
                .events
                .pop_used(token, &[], &mut [piece.as_mut()])
                .map_err(|_| ChannelError::WrongBuffer)?;
        }
        take(piece.cast(), &mut event);
        queues.give(&self.buffers, slot)?;
        if queues.events.should_notify() {
            self.transport.notify(EVENT_QUEUE);
        }
        Ok(Some(event))
    }
}
