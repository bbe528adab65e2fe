//! The settings of a running migration that may be changed, each a type that knows its bounds.
//!
//! In: numbers. Out: [`Settings`], or [`OutOfBounds`] with the bound. Always holds: a value of these types is inside
//! its bounds, however it came to be, from a file too; nothing is clamped. It does not know which values are good.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A setting by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameter {
    /// How many connections write into the target.
    Writers,
    /// The most rows of a chunk.
    ChunkRows,
    /// How many connections read one table.
    Readers,
    /// How many buffers may wait between the readers and the writers.
    Buffers,
}

impl Parameter {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Writers, Self::ChunkRows, Self::Readers, Self::Buffers];

    /// As logs, metrics and models have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writers => "writers",
            Self::ChunkRows => "chunk_rows",
            Self::Readers => "readers",
            Self::Buffers => "buffers",
        }
    }

    /// The least and the most that is allowed.
    pub fn bounds(self) -> (u32, u32) {
        match self {
            Self::Writers => (Writers::LEAST, Writers::MOST),
            Self::ChunkRows => (ChunkRows::LEAST, ChunkRows::MOST),
            Self::Readers => (Readers::LEAST, Readers::MOST),
            Self::Buffers => (Buffers::LEAST, Buffers::MOST),
        }
    }

    /// The most that one step may make of `value`: the double; 2 more, where the double is hardly a step; and where
    /// chunks are small so many rows as no longer are few, for each of them costs as much as a large one.
    pub fn one_step_up(self, value: u32) -> u32 {
        let double = value.saturating_mul(2).max(value.saturating_add(2));
        match self {
            Self::ChunkRows => SMALL_CHUNK.max(double),
            Self::Writers | Self::Readers | Self::Buffers => double,
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Up to so many rows a chunk may become larger in one step.
const SMALL_CHUNK: u32 = 100_000;

/// A value that is not allowed, with what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} = {value} is out of bounds; allowed: {least} to {most}")]
pub struct OutOfBounds {
    /// Which setting.
    pub parameter: Parameter,
    /// What was proposed.
    pub value: i64,
    /// The least that is allowed.
    pub least: u32,
    /// The most that is allowed.
    pub most: u32,
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $least:literal, $most:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(u32);

        impl $name {
            /// The least that is allowed.
            pub const LEAST: u32 = $least;
            /// The most that is allowed.
            pub const MOST: u32 = $most;

            /// Takes a value that is inside the bounds.
            ///
            /// # Errors
            /// Where it is not: with the bounds.
            pub fn new(value: i64) -> Result<Self, OutOfBounds> {
                match u32::try_from(value) {
                    Ok(inside) if (Self::LEAST..=Self::MOST).contains(&inside) => Ok(Self(inside)),
                    _ => Err(OutOfBounds {
                        parameter: Parameter::$name,
                        value,
                        least: Self::LEAST,
                        most: Self::MOST,
                    }),
                }
            }

            /// The number.
            pub fn get(self) -> u32 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfBounds;

            fn try_from(value: i64) -> Result<Self, OutOfBounds> {
                Self::new(value)
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> Self {
                Self::from(value.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

bounded!(
    /// How many connections write into the target.
    Writers,
    1,
    16
);
bounded!(
    /// The most rows of a chunk; a chunk also ends at its byte cap, which is not adjusted.
    ChunkRows,
    1_000,
    500_000
);
bounded!(
    /// How many connections read one table.
    Readers,
    1,
    4
);
bounded!(
    /// How many buffers may wait between the readers and the writers.
    Buffers,
    2,
    32
);

/// The settings of a run, all inside their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// How many connections write into the target.
    pub writers: Writers,
    /// The most rows of a chunk.
    pub chunk_rows: ChunkRows,
    /// How many connections read one table.
    pub readers: Readers,
    /// How many buffers may wait between the readers and the writers.
    pub buffers: Buffers,
}

impl Settings {
    /// Takes values that are inside their bounds.
    ///
    /// # Errors
    /// For the first that is not.
    pub fn new(writers: i64, chunk_rows: i64, readers: i64, buffers: i64) -> Result<Self, OutOfBounds> {
        Ok(Self {
            writers: Writers::new(writers)?,
            chunk_rows: ChunkRows::new(chunk_rows)?,
            readers: Readers::new(readers)?,
            buffers: Buffers::new(buffers)?,
        })
    }

    /// One of them, as a number.
    pub fn get(&self, parameter: Parameter) -> u32 {
        match parameter {
            Parameter::Writers => self.writers.get(),
            Parameter::ChunkRows => self.chunk_rows.get(),
            Parameter::Readers => self.readers.get(),
            Parameter::Buffers => self.buffers.get(),
        }
    }

    /// The same with one of them changed.
    ///
    /// # Errors
    /// Where the value is out of bounds.
    pub fn with(self, parameter: Parameter, value: i64) -> Result<Self, OutOfBounds> {
        let mut next = self;
        match parameter {
            Parameter::Writers => next.writers = Writers::new(value)?,
            Parameter::ChunkRows => next.chunk_rows = ChunkRows::new(value)?,
            Parameter::Readers => next.readers = Readers::new(value)?,
            Parameter::Buffers => next.buffers = Buffers::new(value)?,
        }
        Ok(next)
    }

    /// Which of them are others in `next`.
    pub fn changed(&self, next: &Self) -> Vec<Parameter> {
        Parameter::ALL.into_iter().filter(|parameter| self.get(*parameter) != next.get(*parameter)).collect()
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chunk_size={}, readers={}, writers={}, buffers={}",
            self.chunk_rows, self.readers, self.writers, self.buffers
        )
    }
}

/// The most that this run may have of each, where its configuration gives less than the bounds do: connections to the
/// target, memory. It only narrows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// The most writers.
    pub writers: Writers,
    /// The most rows of a chunk.
    pub chunk_rows: ChunkRows,
    /// The most readers of a table.
    pub readers: Readers,
    /// The most buffers.
    pub buffers: Buffers,
}

impl Caps {
    /// The bounds themselves.
    pub const WIDEST: Self = Self {
        writers: Writers(Writers::MOST),
        chunk_rows: ChunkRows(ChunkRows::MOST),
        readers: Readers(Readers::MOST),
        buffers: Buffers(Buffers::MOST),
    };

    /// The most of one of them.
    pub fn most(&self, parameter: Parameter) -> u32 {
        match parameter {
            Parameter::Writers => self.writers.get(),
            Parameter::ChunkRows => self.chunk_rows.get(),
            Parameter::Readers => self.readers.get(),
            Parameter::Buffers => self.buffers.get(),
        }
    }

    /// Whether the step from `from` to `to` keeps to them. What is above them already may stay, or go down.
    ///
    /// # Errors
    /// For the first setting that grows above its cap.
    pub fn allow(&self, from: &Settings, to: &Settings) -> Result<(), OutOfBounds> {
        for parameter in from.changed(to) {
            let (value, most) = (to.get(parameter), self.most(parameter));
            if value > most && value > from.get(parameter) {
                let least = parameter.bounds().0;
                return Err(OutOfBounds { parameter, value: i64::from(value), least, most });
            }
        }
        Ok(())
    }
}

impl Default for Caps {
    fn default() -> Self {
        Self::WIDEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings() -> Settings {
        Settings::new(4, 50_000, 2, 8).unwrap()
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bound() {
        let refused = Writers::new(17).unwrap_err();
        assert_eq!(refused.to_string(), "writers = 17 is out of bounds; allowed: 1 to 16");
        assert_eq!(
            ChunkRows::new(999).unwrap_err().to_string(),
            "chunk_rows = 999 is out of bounds; allowed: 1000 to 500000"
        );
        for bad in [i64::MIN, -1, 0, 5, i64::MAX] {
            assert!(Readers::new(bad).is_err(), "{bad}");
        }
        for (parameter, bad) in [
            (Parameter::Writers, 0),
            (Parameter::ChunkRows, 500_001),
            (Parameter::Readers, 5),
            (Parameter::Buffers, 1),
        ] {
            let error = settings().with(parameter, bad).unwrap_err();
            assert_eq!((error.parameter, error.value), (parameter, bad));
        }
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        assert!(Settings::new(1, 1_000, 1, 2).is_ok());
        assert!(Settings::new(16, 500_000, 4, 32).is_ok());
    }

    #[test]
    fn they_are_shown_as_the_testing_guide_has_them() {
        let shown = Settings::new(4, 5_000, 2, 8).unwrap().to_string();
        assert_eq!(shown, "chunk_size=5000, readers=2, writers=4, buffers=8");
    }

    #[test]
    fn a_file_cannot_bring_in_what_is_out_of_bounds() {
        let text = r#"{"writers":4,"chunk_rows":50000,"readers":2,"buffers":8}"#;
        assert_eq!(serde_json::from_str::<Settings>(text).unwrap(), settings());
        assert_eq!(serde_json::to_string(&settings()).unwrap(), text);
        let error = serde_json::from_str::<Settings>(&text.replace(":8}", ":33}")).unwrap_err();
        assert!(error.to_string().contains("buffers = 33 is out of bounds"), "{error}");
    }

    #[test]
    fn a_step_knows_what_changes() {
        let now = settings();
        assert!(now.changed(&now).is_empty());
        let wider = now.with(Parameter::Writers, 6).unwrap();
        assert_eq!(now.changed(&wider), [Parameter::Writers]);
    }

    #[test]
    fn caps_hold_back_growth_and_nothing_else() {
        let caps = Caps { writers: Writers::new(3).unwrap(), ..Caps::default() };
        let now = settings();
        let with = |writers| now.with(Parameter::Writers, writers).unwrap();
        assert_eq!(caps.allow(&now, &now), Ok(()));
        assert_eq!(caps.allow(&now, &with(2)), Ok(()));
        let error = caps.allow(&now, &with(5)).unwrap_err();
        assert_eq!(error.to_string(), "writers = 5 is out of bounds; allowed: 1 to 3");
    }

    proptest! {
        #[test]
        fn no_number_makes_a_setting_out_of_bounds(
            writers in any::<i64>(), chunk in -10_i64..600_000, readers in -2_i64..8, buffers in -2_i64..40,
        ) {
            for (w, c, r, b) in [(writers, chunk, readers, buffers), (4, chunk, readers, buffers)] {
                if let Ok(settings) = Settings::new(w, c, r, b) {
                    for parameter in Parameter::ALL {
                        let (least, most) = parameter.bounds();
                        prop_assert!((least..=most).contains(&settings.get(parameter)));
                    }
                }
            }
        }
    }
}
