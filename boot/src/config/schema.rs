//! The shape of the TOML file, with the place of every value that a message may have to point at.
//!
//! Values stay as the user wrote them; [`super::check`] reads them, so that one bad value hides no other.

use serde::Deserialize;
use toml::Spanned;

use super::cause::Cause;
use super::problem::Problem;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    #[serde(default)]
    pub allow_unsafe_interrupts: bool,
    pub split_unsafe: Option<Spanned<Vec<Spanned<String>>>>,
    pub deadline: Option<Spanned<u64>>,
    #[serde(default)]
    pub guest: Vec<Guest>,
    pub machine: Option<Machine>,
}

/// A `[[guest]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Guest {
    pub name: Spanned<String>,
    pub cpus: Spanned<Vec<Spanned<u32>>>,
    pub memory: Spanned<Size>,
    pub memory_at: Option<Spanned<Size>>,
    pub image: Spanned<String>,
    pub initrd: Option<Spanned<String>>,
    pub denied: Option<Spanned<String>>,
    pub on_fault: Option<Spanned<String>>,
    pub cmdline: Option<Spanned<String>>,
    pub devices: Option<Spanned<Vec<Spanned<String>>>>,
    pub expect: Option<Spanned<String>>,
    pub on_exit: Option<Spanned<String>>,
    pub restarts: Option<Spanned<u32>>,
}

/// The `[machine]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Machine {
    pub cpus: Option<Spanned<u32>>,
    pub memory: Option<Spanned<Size>>,
    pub iommu: Option<Spanned<String>>,
    pub cpu: Option<String>,
    pub accel: Option<String>,
    #[serde(default)]
    pub devices: Vec<String>,
    #[serde(default)]
    pub qemu: Vec<String>,
    #[serde(default)]
    pub disk: Vec<Disk>,
    #[serde(default)]
    pub network: Vec<Network>,
}

/// A `[[machine.disk]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Disk {
    pub id: Spanned<String>,
    pub size: Spanned<Size>,
    pub written_by: Option<Spanned<String>>,
    pub filesystem: Option<Spanned<String>>,
}

/// A `[[machine.network]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Network {
    pub id: Spanned<String>,
    pub used_by: Option<Spanned<String>>,
}

/// A number of bytes or an address: `"16M"`, `"0x20000000"` or a plain integer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    /// A plain TOML integer.
    Number(u64),
    /// A text for [`super::size::parse`].
    Text(String),
}

impl Size {
    /// The value, or the text that does not say one.
    pub(super) fn bytes(&self) -> Result<u64, String> {
        match self {
            Self::Number(value) => Ok(*value),
            Self::Text(text) => super::size::parse(text).ok_or_else(|| text.clone()),
        }
    }
}

/// Reads the text.
pub(super) fn parse(text: &str) -> Result<File, Problem> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().unwrap_or(0..0);
        // A missing key is reported with the span of its whole table: point at the table's first line.
        let line_end = text[at.start..]
            .find('\n')
            .map_or(text.len(), |len| at.start + len);
        let at = at.start..at.end.min(line_end).max(at.start);
        Problem::new(Cause::Toml(error.message().into()), at)
    })
}
