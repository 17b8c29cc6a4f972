//! What became of every behaviour.

use std::fmt;

/// How a behaviour turned out.
pub type Verdict = Result<(), Stop>;

/// Why a behaviour was not kept, or not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It was not kept; this happened instead.
    Broken(String),
    /// It does not apply to this provider or this backend, for this reason.
    NotApplicable(String),
}

/// One behaviour of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The name of the behaviour: that of its function.
    pub name: &'static str,
    /// What is expected.
    pub expected: &'static str,
    /// How it turned out.
    pub verdict: Verdict,
}

/// All behaviours of one provider. `Display` gives a table, with the seed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report that nobody looks at proves nothing"]
pub struct Report {
    /// The seed that repeats the run.
    pub seed: u64,
    /// In the order of the suite.
    pub rows: Vec<Row>,
}

impl Report {
    /// The names of the behaviours that were not kept.
    #[must_use]
    pub fn broken(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Err(Stop::Broken(_))))
    }

    /// The names of the behaviours that do not apply. Compare them with what you expect: a harness
    /// that breaks nothing proves nothing.
    #[must_use]
    pub fn not_applicable(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Err(Stop::NotApplicable(_))))
    }

    /// The names of the behaviours that were kept.
    #[must_use]
    pub fn kept(&self) -> Vec<&'static str> {
        self.named(Result::is_ok)
    }

    fn named(&self, which: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        let rows = self.rows.iter().filter(|row| which(&row.verdict));
        rows.map(|row| row.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.len()).max();
        let width = width.unwrap_or(0);
        for row in &self.rows {
            match &row.verdict {
                Ok(()) => writeln!(f, "kept    {}", row.name)?,
                Err(Stop::NotApplicable(why)) => {
                    writeln!(f, "n/a     {:<width$}  {why}", row.name)?;
                }
                Err(Stop::Broken(happened)) => writeln!(
                    f,
                    "BROKEN  {:<width$}\n        expected: {}\n        happened: {happened}\n        \
                     seed:     {}",
                    row.name, row.expected, self.seed
                )?,
            }
        }
        write!(
            f,
            "{} kept, {} broken, {} not applicable; seed {}",
            self.kept().len(),
            self.broken().len(),
            self.not_applicable().len(),
            self.seed
        )
    }
}
