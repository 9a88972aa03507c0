//! Prometheus' text format.

use std::fmt::Write;

/// Text under way.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a family of samples.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a sample to the family.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (idx, (label, text)) in labels.iter().enumerate() {
            let before = if idx == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(text));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {}", number(value));
    }

    /// What Prometheus is given.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Shortest digits that mean the same, never in exponents.
pub(super) fn number(value: f64) -> String {
    format!("{value}")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
