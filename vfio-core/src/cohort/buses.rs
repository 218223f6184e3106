//! What each kind of bus adds to an inventory, by one call.

use alloc::vec::Vec;

use super::{Cause, Cut, DeviceReset, Inventory, Link, Member, NotAssignable, Obstacle, SetReset, SetScope};
use crate::fsl_mc::{self, ObjectId, ObjectType};
use crate::hash::Map;
use crate::id::{DeviceId, SetId};
use crate::mediated::MediatedId;
use crate::pci::{Bdf, Topology};
use crate::platform::{Description, ResetKind};

impl Inventory {
    /// Adds the devices of a PCI topology, its isolation groups, and the resets of its sets.
    pub fn add_pci(&mut self, topology: &Topology) -> &mut Self {
        for function in topology.endpoints() {
            let id = DeviceId::from(function.bdf);
            let set = topology.set_id(function.bdf).unwrap_or(SetId::Own(id));
            if let Some(scope) = topology.set_scope(set) {
                self.scopes.insert(set, scope);
            }
            self.members.push(Member {
                set,
                requesters: topology.dma_aliases(function.bdf).to_vec(),
                reset: function.resets.best_for_function().map(DeviceReset::from),
                not_assignable: topology.not_assignable(function.bdf),
                physical_function: function.physical_function.map(DeviceId::from),
                ..Member::new(id)
            });
        }
        let groups = topology.groups(|bdf| self.split.contains_key(&DeviceId::from(bdf)));
        self.links.extend(groups.links.into_iter().map(Link::from));
        let cut = |(device, cause): (Bdf, _)| Cut {
            device: device.into(),
            cause: Cause::Group(cause),
        };
        self.cuts.extend(groups.cuts.into_iter().map(cut));
        self
    }

    /// Adds the objects of a Management Complex: each in the set of the container around it, under that container's ICID;
    /// the resets of the containers; and what joins a container to the one around it. Objects with one ICID are one
    /// isolation group, of whatever container.
    ///
    /// The root container is the hypervisor's and not reset. Firmware before 6.5 resets what is inside a container with it:
    /// such a container with others inside cannot be reset while it is open ([`Obstacle::Outside`]), and is reset as an
    /// object when it is closed, which is no harm to those inside, who are closed with it.
    pub fn add_fsl_mc(&mut self, found: &fsl_mc::Inventory) -> &mut Self {
        let inside: Map<ObjectId, ObjectId> = found
            .nestings
            .iter()
            .map(|nesting| (nesting.outer, nesting.inner_member))
            .collect();
        let mut goes_inside: Map<ObjectId, ()> = Map::default();
        let root = found
            .members
            .iter()
            .find_map(|member| match member.not_assignable {
                Some(fsl_mc::NotAssignable::InRoot(root)) => Some(root),
                _ => None,
            });
        for reset in &found.resets {
            let container = reset.container;
            let reached = inside.get(&container).filter(|_| reset.recursive);
            if reached.is_some() {
                goes_inside.insert(container, ());
            }
            let obstacle = if root == Some(container) {
                Some(Obstacle::NoPart(container.into()))
            } else {
                reached.map(|inner| Obstacle::Outside((*inner).into()))
            };
            let by = SetReset::Container(container);
            self.reset_set(SetId::Dprc(container), SetScope { by, obstacle });
        }
        for member in &found.members {
            let requesters: Vec<_> = member.requester().into_iter().collect();
            // A container's own reset is that of its set.
            let alone = member.id.kind != ObjectType::Dprc || goes_inside.contains_key(&member.id);
            // Nobody knows where the accesses of one without an ICID go.
            let unknown = requesters.is_empty().then_some(NotAssignable::NoIommu);
            self.add(Member {
                set: member.set(),
                requesters,
                reset: alone.then_some(DeviceReset::Object),
                not_assignable: member.not_assignable.map(NotAssignable::FslMc).or(unknown),
                ..Member::new(member.id.into())
            });
        }
        // Like a set, and unlike an isolation group, this cannot be split: the outer owner's commands are no DMA.
        self.links.extend(found.nestings.iter().map(|&nesting| Link {
            a: nesting.inner_member.into(),
            b: nesting.outer_member.into(),
            cause: Cause::Nested(nesting),
        }));
        self
    }

    /// Adds platform devices, each alone in its set. One whose description makes no sense can be given to nobody. Those that
    /// reach one another past the IOMMU are [joined](Self::join) by [`Cause::Description`].
    pub fn add_platform<'d>(&mut self, devices: impl IntoIterator<Item = &'d Description>) -> &mut Self {
        for device in devices {
            let can_reset = device.reset != ResetKind::None;
            let must_reset = device.reset == ResetKind::Required;
            let member = Member::platform(device.id, device.requesters.clone(), can_reset, must_reset);
            let wrong = device.check().err().map(NotAssignable::Description);
            self.add(Member {
                not_assignable: wrong.or(member.not_assignable),
                ..member
            });
        }
        self
    }

    /// Adds mediated devices, each a cohort by itself.
    pub fn add_mediated(&mut self, devices: impl IntoIterator<Item = MediatedId>) -> &mut Self {
        for device in devices {
            self.add(Member::mediated(device));
        }
        self
    }
}
