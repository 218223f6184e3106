//! A problem with its place, and all problems of a file as one refusal that prints them.

use std::fmt::Write as _;
use std::ops::Range;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::Source;
use super::cause::Cause;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub cause: Cause,
    /// Where: byte offsets in the text.
    pub at: Range<usize>,
    /// Where the other half of a contradiction is.
    pub other: Option<Range<usize>>,
}

impl Problem {
    /// A problem at one place.
    #[must_use]
    pub fn new(cause: Cause, at: Range<usize>) -> Self {
        Self {
            cause,
            at,
            other: None,
        }
    }

    /// Whether it is about a line of the file: what the hypervisor says of the machine is not.
    fn has_place(&self) -> bool {
        !(matches!(self.cause, Cause::Kernel { .. }) && self.at.is_empty())
    }

    /// A contradiction between two places.
    #[must_use]
    pub fn between(cause: Cause, first: Range<usize>, second: Range<usize>) -> Self {
        Self {
            cause,
            at: second,
            other: Some(first),
        }
    }
}

/// A refused configuration: everything that is wrong with it.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong, in the order of the file's guests.
    pub problems: Vec<Problem>,
    name: String,
    text: String,
}

impl Refused {
    /// The `problems` of `source`.
    #[must_use]
    pub fn new(source: &Source, problems: Vec<Problem>) -> Self {
        Self {
            problems,
            name: source.name.clone(),
            text: source.text.clone(),
        }
    }

    /// The line, counted from 1, that `problem` points at.
    #[must_use]
    pub fn line(&self, problem: &Problem) -> usize {
        let start = problem.at.start.min(self.text.len());
        self.text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }

    /// The problems as text for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let theme = if color {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110);
        let source = NamedSource::new(&self.name, self.text.clone());
        let mut out = String::new();
        for problem in &self.problems {
            let shown = Shown {
                problem,
                source: &source,
            };
            if handler.render_report(&mut out, &shown).is_err() {
                // Only a place outside the text can fail, and the message says enough without it.
                let _ = writeln!(out, "{}\n  help: {}", problem.cause, problem.cause.help());
            }
        }
        out
    }
}

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// A problem with its text, as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
}

impl std::error::Error for Shown<'_> {}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.problem.cause, f)
    }
}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.problem.cause.help()))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.has_place().then_some(self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if !self.problem.has_place() {
            return None;
        }
        let label = |text: &str, at: &Range<usize>| LabeledSpan::new_with_span(Some(text.into()), at.clone());
        let other = self.problem.other.as_ref().map(|at| label("first here", at));
        let text = if other.is_some() { "and again here" } else { "here" };
        Some(Box::new(other.into_iter().chain([label(text, &self.problem.at)])))
    }
}
