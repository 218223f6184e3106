//! A table of figures: a row for each case, a column for each size, and what the row is to keep to.

use crate::callgrind::{Problem, count};

/// A group of cases over the same sizes.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    /// Its name, to filter by.
    pub(crate) name: &'static str,
    /// What the figures are.
    pub(crate) title: &'static str,
    /// The sizes.
    pub(crate) sizes: &'static [u32],
    /// The cases.
    pub(crate) rows: &'static [&'static str],
    /// How much the dearest size may cost more than the cheapest, for each operation.
    pub(crate) aim: f64,
}

impl Table {
    /// Measures and prints; whether every row keeps to the aim.
    pub(crate) fn print(&self) -> Result<bool, Problem> {
        println!("\n{}: {}\n", self.name, self.title);
        let sizes: Vec<String> = self.sizes.iter().map(u32::to_string).collect();
        println!(
            "| | {} | dearest / cheapest (aim: {}) |",
            sizes.join(" | "),
            self.aim
        );
        println!("|---|{}", "---|".repeat(self.sizes.len() + 1));
        let mut all_met = true;
        for &row in self.rows {
            let figures: Vec<f64> = self
                .sizes
                .iter()
                .map(|&size| count(row, size))
                .collect::<Result<_, _>>()?;
            let dearest = figures.iter().copied().fold(0.0, f64::max);
            let cheapest = figures.iter().copied().fold(f64::INFINITY, f64::min);
            let ratio = dearest / cheapest;
            let met = ratio <= self.aim;
            all_met &= met;
            let figures: Vec<String> = figures.iter().map(|figure| format!("{figure:.0}")).collect();
            println!(
                "| {row} | {} | {ratio:.2}{} |",
                figures.join(" | "),
                if met { "" } else { " *" }
            );
        }
        Ok(all_met)
    }
}
