//! The command line: `key=value` words, by which a configuration tells a guest what to do.

use core::fmt;

/// A command line. Words without `=` and unknown keys are of no concern to a guest: other programs read them.
#[derive(Clone, Copy, Debug)]
pub struct Cmdline<'a>(&'a str);

/// A value that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}={value} on the command line is not {wanted}")]
pub struct CmdlineError<'a> {
    /// The key.
    pub key: &'static str,
    /// What stands there.
    pub value: &'a str,
    /// What would be right.
    pub wanted: &'static str,
}

impl<'a> Cmdline<'a> {
    /// The command line `text`.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The last value of `key`.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.0
            .split_ascii_whitespace()
            .rev()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The value of `key` as a number, decimal or with `0x`.
    ///
    /// # Errors
    /// The value is no such number.
    pub fn number(&self, key: &'static str) -> Result<Option<u64>, CmdlineError<'a>> {
        self.text(key).map(|value| parse(key, value)).transpose()
    }

    /// The value of `key` as numbers with commas between them; none where the key is absent.
    ///
    /// # Errors
    /// One of them is no number.
    pub fn numbers(
        &self,
        key: &'static str,
    ) -> impl Iterator<Item = Result<u64, CmdlineError<'a>>> + use<'a> {
        self.text(key)
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(move |value| parse(key, value))
    }
}

impl fmt::Display for Cmdline<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

fn parse<'a>(key: &'static str, value: &'a str) -> Result<u64, CmdlineError<'a>> {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    number.map_err(|_| CmdlineError {
        key,
        value,
        wanted: "a number (decimal, or hexadecimal with 0x)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_whole_key() {
        let line = Cmdline::new("xseed=1 seed=2  mode=spin seed=0x10 seeds=5 quiet");
        assert_eq!(line.number("seed"), Ok(Some(16)));
        assert_eq!(line.text("mode"), Some("spin"));
        assert_eq!(line.text("quiet"), None);
        assert_eq!(line.number("absent"), Ok(None));
    }

    #[test]
    fn lists_are_split() {
        let line = Cmdline::new("other=0x20,48");
        assert!(line.numbers("other").eq([Ok(32), Ok(48)]));
        assert_eq!(line.numbers("absent").count(), 0);
    }

    #[test]
    fn what_is_no_number_is_named() {
        for value in [
            "seed=",
            "seed=-1",
            "seed=0x",
            "seed=ten",
            "seed=99999999999999999999",
        ] {
            let error = Cmdline::new(value).number("seed").unwrap_err();
            assert!(error.to_string().contains(value), "{error}");
        }
    }
}
