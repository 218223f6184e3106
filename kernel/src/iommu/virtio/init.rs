//! Bringing a virtio-iommu up: features, `bypass` off, ranges, queues.

use super::{Channel, InitError, MAX_MESSAGE, VirtioIommu};
use crate::addr::Iova;
use alloc::collections::{BTreeMap, BTreeSet};
use spec::virtio_iommu::{Config, Features, Tail};
use vfio_core::domain::{IovaRange, SMALLEST};
use zerocopy::FromBytes;

/// What the driver takes if it is offered. `BYPASS`, the legacy form, is never taken: with it, unattached endpoints
/// would pass. `MMIO` is not needed, since only memory is mapped.
const WANTED: Features = Features::VERSION_1
    .union(Features::INPUT_RANGE)
    .union(Features::DOMAIN_RANGE)
    .union(Features::MAP_UNMAP)
    .union(Features::PROBE)
    .union(Features::BYPASS_CONFIG);

impl<C: Channel> VirtioIommu<C> {
    /// Brings the device up, with `bypass` off before anything else. No endpoint is attached to anything yet: call
    /// [`quarantine`](Self::quarantine) for each, before any device may access memory.
    ///
    /// # Errors
    ///
    /// If the device lacks what isolation needs, keeps `bypass` on, or cannot be talked to.
    pub fn init(mut channel: C) -> Result<Self, InitError> {
        let offered = Features::from_bits_retain(channel.offered()?);
        if !offered.contains(Features::VERSION_1) {
            return Err(InitError::Missing("VIRTIO_F_VERSION_1"));
        }
        if !offered.contains(Features::MAP_UNMAP) {
            return Err(InitError::Missing("VIRTIO_IOMMU_F_MAP_UNMAP"));
        }
        let features = offered & WANTED;
        channel.negotiate(features.bits())?;
        if features.contains(Features::BYPASS_CONFIG) {
            channel.set_bypass(false)?;
        }
        let bytes = channel.config()?;
        let (config, _) =
            Config::read_from_prefix(&bytes).map_err(|_| InitError::Channel(super::ChannelError::Config))?;
        if features.contains(Features::BYPASS_CONFIG) && config.bypass != 0 {
            return Err(InitError::Bypass);
        }
        let input = if features.contains(Features::INPUT_RANGE) {
            let (start, end) = (config.input_start.get(), config.input_end.get());
            IovaRange::inclusive(Iova(start), Iova(end)).ok_or(InitError::Range { start, end })?
        } else {
            IovaRange::ALL
        };
        let domains_range = if features.contains(Features::DOMAIN_RANGE) {
            let (start, end) = (config.domain_start.get(), config.domain_end.get());
            // One number is the quarantine's, and one at least must be left.
            if end <= start {
                return Err(InitError::Range {
                    start: start.into(),
                    end: end.into(),
                });
            }
            (start, end)
        } else {
            (0, u32::MAX)
        };
        let mask = config.page_size_mask.get();
        if mask & (2 * SMALLEST - 1) == 0 {
            return Err(InitError::PageSize(mask));
        }
        let probe_size = features
            .contains(Features::PROBE)
            .then(|| config.probe_size.get());
        if let Some(size) = probe_size.filter(|size| *size as usize > MAX_MESSAGE - size_of::<Tail>()) {
            return Err(InitError::ProbeSize(size));
        }
        channel.start()?;
        Ok(Self {
            channel,
            page_sizes: mask,
            input,
            domains_range,
            probe_size,
            endpoints: BTreeMap::new(),
            domains: BTreeSet::new(),
            next_domain: domains_range.0.wrapping_add(1),
            broken: None,
            requests: 0,
            malformed_faults: 0,
        })
    }
}
