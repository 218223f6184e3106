//! How long a caller waits for a set or a cohort that somebody else works on.

/// How often to look again, and what to do in between. Nothing waits without an end, and never under a lock.
#[derive(Clone, Copy, Default)]
pub struct Patience<'a> {
    tries: u32,
    relax: Option<&'a (dyn Fn() + Sync)>,
}

impl core::fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Patience").field("tries", &self.tries).finish()
    }
}

impl<'a> Patience<'a> {
    /// Be refused at once.
    pub const NONE: Self = Self {
        tries: 0,
        relax: None,
    };

    /// Look again `tries` times, and run `relax` before each: a pause, a sleep, a turn for other work. What is waited for may
    /// take as long as a reset, so `tries` times what `relax` takes should be above that.
    #[must_use]
    pub const fn times(tries: u32, relax: &'a (dyn Fn() + Sync)) -> Self {
        Self {
            tries,
            relax: Some(relax),
        }
    }

    /// Waits once; `false` if there is no more waiting.
    pub(crate) fn wait(&mut self) -> bool {
        crate::sync::assert_unlocked();
        let Some(left) = self.tries.checked_sub(1) else {
            return false;
        };
        self.tries = left;
        if let Some(relax) = self.relax {
            relax();
        }
        true
    }
}
