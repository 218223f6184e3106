//! From a checked plan to the bundle that the hypervisor reads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use cohort_abi::bundle::{self, Config, Denied, Mode};

use crate::config::{Guest, Image, Plan};
use crate::linux::Flavour;
use crate::{cargo, image, linux};

/// Builds the bundle of `plan` for `mode`, and the guests of the repository that it needs.
///
/// # Errors
/// Where a guest does not build or its image is not one.
pub fn build(plan: &Plan, mode: Mode) -> anyhow::Result<Vec<u8>> {
    let built = build_guests(&plan.guests)?;
    let mut images = Images::default();
    let mut guests = Vec::new();
    // Fetched and packed once, and only where a guest wants it.
    let mut linux = Linux::default();
    for guest in &plan.guests {
        let path = match &guest.image {
            Image::File(path) => path.clone(),
            Image::BuiltIn(name) => built
                .get(name)
                .cloned()
                .with_context(|| format!("cargo built no guest `{name}`"))?,
            Image::Linux(flavour) => linux.get(*flavour, &mut images)?.0.clone(),
        };
        let (image, bzimage) = images.add_image(path)?;
        let initrd = match (&guest.initrd, &guest.image) {
            (Some(path), _) => Some(images.add_file(path)?),
            (None, Image::Linux(flavour)) => Some(linux.get(*flavour, &mut images)?.1),
            _ => None,
        };
        let usual = if bzimage { Denied::Hardware } else { Denied::Stop };
        guests.push(bundle::Guest {
            name: guest.name.clone(),
            cpus: guest.cpus.clone(),
            memory: guest.memory,
            memory_at: guest.memory_at,
            image,
            initrd,
            denied: guest.denied.unwrap_or(usual),
            on_fault: guest.on_fault,
            cmdline: guest.cmdline.clone(),
            devices: guest.devices.clone(),
            expect: guest.expect,
            on_exit: guest.on_exit,
        });
    }
    let config = Config {
        mode,
        allow_unsafe_interrupts: plan.allow_unsafe_interrupts,
        split_unsafe: plan.split_unsafe.clone(),
        deadline_ms: plan.deadline_ms,
        guests,
    };
    Ok(bundle::build(&config, &images.bytes)?)
}

/// Kernels of the distribution, and where in the bundle the initial file system of each is.
#[derive(Default)]
struct Linux(BTreeMap<Flavour, (PathBuf, bundle::Image)>);

impl Linux {
    fn get(&mut self, flavour: Flavour, images: &mut Images) -> anyhow::Result<&(PathBuf, bundle::Image)> {
        Ok(match self.0.entry(flavour) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let files = linux::fetch(flavour)?;
                let archive = linux::initramfs(&files, &linux::probe()?)?;
                let initrd = images.append(&archive, "the initramfs")?;
                new.insert((files.kernel, initrd))
            }
        })
    }
}

/// The images of a bundle, each file once.
#[derive(Default)]
struct Images {
    bytes: Vec<u8>,
    known: BTreeMap<PathBuf, (bundle::Image, bool)>,
}

impl Images {
    /// Adds a guest's image, and says whether it is a Linux kernel.
    fn add_image(&mut self, path: PathBuf) -> anyhow::Result<(bundle::Image, bool)> {
        if let Some(known) = self.known.get(&path) {
            return Ok(*known);
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        image::check_guest(&bytes).with_context(|| format!("{} cannot be run", path.display()))?;
        // The hypervisor reads all of the bundle before it starts anything.
        let bytes = image::strip(bytes);
        let found = (
            self.append(&bytes, &path.display().to_string())?,
            image::is_bzimage(&bytes),
        );
        self.known.insert(path, found);
        Ok(found)
    }

    /// Adds a file as it is.
    fn add_file(&mut self, path: &Path) -> anyhow::Result<bundle::Image> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.append(&bytes, &path.display().to_string())
    }

    fn append(&mut self, bytes: &[u8], what: &str) -> anyhow::Result<bundle::Image> {
        // Page-aligned, so that the hypervisor can read program headers in place.
        self.bytes.resize(self.bytes.len().next_multiple_of(4096), 0);
        let (Ok(offset), Ok(len)) = (u32::try_from(self.bytes.len()), u32::try_from(bytes.len())) else {
            bail!("the images are larger than 4 GiB together; {what} does not fit");
        };
        self.bytes.extend_from_slice(bytes);
        Ok(bundle::Image { offset, len })
    }
}

/// Builds the guests of the repository that `guests` use; gives the path of each.
fn build_guests(guests: &[Guest]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut arguments = vec!["-p", "guests"];
    for guest in guests {
        if let Image::BuiltIn(name) = &guest.image {
            arguments.extend(["--bin", name]);
        }
    }
    if arguments.len() == 2 {
        return Ok(BTreeMap::new());
    }
    Ok(cargo::build("Building the guests", &["build"], &arguments)?
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::minimal::elf;

    #[test]
    fn a_bundle_carries_the_plan_and_each_image_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = elf(&[0xf4], true);
        std::fs::write(folder.path().join("guest"), &image).expect("it is written");
        let guest = |name: &str, cpu: u32| {
            format!(
                "[[guest]]\nname=\"{name}\"\ncpus=[{cpu}]\nmemory=\"2M\"\nimage=\"guest\"\ncmdline=\"x\"\n"
            )
        };
        let text = format!(
            "deadline = 5\n{}{}expect = \"any\"\n",
            guest("a", 1),
            guest("b", 2)
        );
        let source = Source {
            name: "t".into(),
            text,
            folder: folder.path().into(),
        };
        let plan = Plan::load(source).expect("it holds");
        let bytes = build(&plan, Mode::Check).expect("it builds");
        let bundle = bundle::Bundle::parse(&bytes).expect("it reads");
        assert_eq!(bundle.config.mode, Mode::Check);
        assert_eq!(bundle.config.deadline_ms, 5000);
        assert_eq!(bundle.config.guests[1].expect, bundle::Expect::Any);
        assert_eq!(bundle.config.guests[0].image, bundle.config.guests[1].image);
        assert_eq!(
            bundle.image(bundle.config.guests[0].image),
            Some(&image::strip(image)[..])
        );
    }
}
