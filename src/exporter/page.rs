//! Prometheus' text format (version 0.0.4): metric families in, text out.
//!
//! Always holds: a family's lines stand together, a family without a sample leaves no line, and what is not a
//! finite number is left out, because missing data is never a value.

use std::fmt::Write as _;

/// What a family is, as its `# TYPE` line says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// node_exporter's type for what it passes on from the kernel.
    #[cfg_attr(
        all(target_os = "macos", target_arch = "aarch64"),
        expect(dead_code, reason = "only Linux' kernel has such numbers")
    )]
    Untyped,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Untyped => "untyped",
        }
    }
}

/// Text that grows by families.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// An empty page that uses `text`'s memory.
    pub(crate) fn reusing(mut text: String) -> Self {
        text.clear();
        Self { text }
    }

    /// A page that goes on after `text`.
    pub(crate) fn continuing(text: String) -> Self {
        Self { text }
    }

    /// Begins a family.
    pub(crate) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'a str) -> Family<'a> {
        Family { page: self, name, kind, help, begun: false }
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A family under construction.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    page: &'a mut Page,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    begun: bool,
}

impl Family<'_> {
    /// Adds a sample; one that is not a finite number is left out.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        if value.is_finite() {
            self.line("", labels, value);
        }
    }

    /// Adds a histogram: `counts` per upper bound (not cumulated), with one more for what is above them all.
    pub(crate) fn histogram(&mut self, bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        for (index, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.line("_bucket", &[("le", &bound)], total as f64);
        }
        self.line("_sum", &[], sum);
        self.line("_count", &[], total as f64);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let text = &mut self.page.text;
        if !self.begun {
            self.begun = true;
            let (name, kind) = (self.name, self.kind.word());
            let _ = write!(text, "# HELP {name} ");
            escape(text, self.help, false);
            let _ = write!(text, "\n# TYPE {name} {kind}\n");
        }
        text.push_str(self.name);
        text.push_str(suffix);
        for (index, (key, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            text.push_str(key);
            text.push_str("=\"");
            escape(text, value, true);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

fn escape(text: &mut String, raw: &str, quotes: bool) {
    for character in raw.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_with_help_type_and_escaped_labels() {
        let mut page = Page::default();
        let mut family = page.family("a_total", Kind::Counter, "Back\\slash\nand \"quotes\".");
        family.sample(&[("x", "1"), ("y", "a\"b\\c\nd")], 1.5);
        family.sample(&[], 1e15);
        insta::assert_snapshot!(page.into_text(), @r#"
        # HELP a_total Back\\slash\nand "quotes".
        # TYPE a_total counter
        a_total{x="1",y="a\"b\\c\nd"} 1.5
        a_total 1000000000000000
        "#);
    }

    #[test]
    fn what_is_not_a_number_leaves_no_line() {
        let mut page = Page::default();
        page.single("a", Kind::Gauge, "x", f64::NAN);
        page.single("b", Kind::Gauge, "x", f64::INFINITY);
        assert_eq!(page.into_text(), "");
    }

    #[test]
    fn a_histogram_is_cumulated_and_closed_by_infinity() {
        let mut page = Page::default();
        page.family("h", Kind::Histogram, "x").histogram(&[0.1, 1.0], &[3, 0, 1], 7.5);
        insta::assert_snapshot!(page.into_text(), @r#"
        # HELP h x
        # TYPE h histogram
        h_bucket{le="0.1"} 3
        h_bucket{le="1"} 3
        h_bucket{le="+Inf"} 4
        h_sum 7.5
        h_count 4
        "#);
    }
}
