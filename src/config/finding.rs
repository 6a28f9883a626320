//! What is wrong with a configuration, in words for the person who wrote it.
//!
//! Not an error type that stops at the first mistake: a [`Findings`] holds all of them. Invariant: no finding
//! holds a secret's value.

use super::tree::Place;
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Runs, but somebody should look.
    Warning,
    /// Does not run.
    Error,
}

/// One thing to say about one place.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// The file, or the environment variable or flag that said it.
    pub file: String,
    /// Line, from 1; `None` where there are no lines.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// The key, as `pool.main.tier`; empty for the file as a whole.
    pub key: String,
    /// What is the matter, if it is more than `found` not being `expected`.
    pub message: Option<String>,
    /// What was found; never a secret.
    pub found: Option<String>,
    /// What would be right.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding with a sentence of its own.
    pub fn said(severity: Severity, key: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: String::new(),
            line: None,
            column: None,
            key: key.to_owned(),
            message: Some(message.into()),
            found: None,
            expected: None,
            hint: None,
        }
    }

    /// An error: this was found, that was wanted.
    pub(super) fn wrong(key: &str, found: String, expected: String, hint: Option<String>) -> Self {
        Self {
            message: None,
            found: Some(found),
            expected: Some(expected),
            hint,
            ..Self::said(Severity::Error, key, "")
        }
    }

    /// The same with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, in this file as a whole.
    pub fn in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }

    /// The same, at this place.
    pub(super) fn at(mut self, place: &Place) -> Self {
        place.file.as_ref().clone_into(&mut self.file);
        (self.line, self.column) = match place.line {
            0 => (None, None),
            line => (Some(line), Some(place.column)),
        };
        self
    }

    fn place(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.file),
            _ => self.file.clone(),
        }
    }
}

impl fmt::Display for Finding {
    /// Severity (unless an error), key, and the sentence; the place is [`Findings`]' to align.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.severity {
            Severity::Error => {}
            Severity::Warning => f.write_str("warning: ")?,
            Severity::Note => f.write_str("note: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        match (&self.message, &self.found, &self.expected) {
            (Some(message), ..) => f.write_str(message)?,
            (None, Some(found), Some(expected)) => write!(f, "found {found}, want {expected}")?,
            (None, found, expected) => {
                f.write_str(expected.as_ref().or(found.as_ref()).map_or("", |s| s))?;
            }
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything there is to say, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Adds all of another.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The same, in this file where nothing else is named.
    pub fn in_file(mut self, file: &str) -> Self {
        for finding in self.0.iter_mut().filter(|f| f.file.is_empty()) {
            file.clone_into(&mut finding.file);
        }
        self
    }

    /// How many there are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|f| f.severity == severity).count()
    }

    /// Whether anything forbids to run.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// Into the order of the file; what has no line comes last, in the order in which it was found.
    pub(super) fn sort(&mut self) {
        self.0
            .sort_by_key(|f| (f.line.unwrap_or(usize::MAX), f.column));
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.iter().map(|x| x.place().chars().count()).max();
        let width = width.unwrap_or(0).min(48);
        for finding in self.iter() {
            writeln!(f, "{:<width$} {finding}", finding.place())?;
        }
        let parts: Vec<String> = [
            (Severity::Error, "error"),
            (Severity::Warning, "warning"),
            (Severity::Note, "note"),
        ]
        .into_iter()
        .map(|(severity, noun)| (self.count(severity), noun))
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" }))
        .collect();
        match parts.is_empty() {
            true => f.write_str("nothing to complain about"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

impl std::error::Error for Findings {}
