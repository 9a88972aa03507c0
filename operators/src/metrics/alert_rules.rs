//! Rules that say when something is wrong, as people write them.
//!
//! ```text
//! reject_rate 15m > 5 %
//! precision 1h < 0.9
//! drift > 0.2
//! false_reject_rate shift > 1 %
//! recall lot < 0.95
//! camera silent 10 s
//! ```

use super::Tally;

/// When to raise an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum AlertRule {
    /// A figure of a window is beyond a limit. Where it is undefined (a ratio of nothing) it is not.
    Beyond {
        /// The figure.
        figure: Figure,
        /// Over which frames.
        window: RuleWindow,
        /// Whether more than the limit is too much; else less is too little.
        above: bool,
        /// The limit, as a share or an index.
        limit: f64,
    },
    /// A camera has no frame for this long, microseconds, while event time goes on.
    Silent {
        /// How long.
        after_us: u64,
    },
}

/// Over which frames a rule looks at a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleWindow {
    /// Those of the last so many microseconds.
    Sliding {
        /// Length, microseconds.
        length_us: u64,
    },
    /// Those of each shift, when it has ended.
    Shift,
    /// Those of each lot, when it has ended.
    Lot,
}

/// What a rule can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// [`Tally::reject_rate`].
    RejectRate,
    /// [`Tally::unreadable_rate`].
    UnreadableRate,
    /// [`Tally::drop_rate`].
    DropRate,
    /// Precision of the labelled frames.
    Precision,
    /// Recall of the labelled frames.
    Recall,
    /// F1 of the labelled frames.
    F1,
    /// False rejects over frames labelled normal.
    FalseRejectRate,
    /// Escapes over frames labelled anomalous.
    EscapeRate,
    /// Area under the ROC curve of the labelled frames.
    Auroc,
    /// Population stability index of the scores.
    Drift,
    /// Median of the calibrated scores.
    P50,
    /// 95th percentile of the calibrated scores.
    P95,
    /// 99th percentile of the calibrated scores.
    P99,
}

const FIGURES: [(&str, Figure); 13] = [
    ("reject_rate", Figure::RejectRate),
    ("unreadable_rate", Figure::UnreadableRate),
    ("drop_rate", Figure::DropRate),
    ("precision", Figure::Precision),
    ("recall", Figure::Recall),
    ("f1", Figure::F1),
    ("false_reject_rate", Figure::FalseRejectRate),
    ("escape_rate", Figure::EscapeRate),
    ("auroc", Figure::Auroc),
    ("drift", Figure::Drift),
    ("p50", Figure::P50),
    ("p95", Figure::P95),
    ("p99", Figure::P99),
];

/// The window of a rule that names none: long enough for a quantile, short enough for a shift.
const WINDOW_US: u64 = 15 * 60_000_000;
const SECOND_US: u64 = 1_000_000;
/// A rule longer than this is none.
const RULE_CHARS_MAX: usize = 200;

impl Figure {
    /// Whether it comes from how frames scored, rather than from how many there were.
    pub fn is_of_scores(self) -> bool {
        matches!(self, Self::Auroc | Self::Drift | Self::P50 | Self::P95 | Self::P99)
    }

    /// Its value in a window's counts; none for what comes from scores.
    pub fn of(self, tally: &Tally) -> Option<f64> {
        match self {
            Self::RejectRate => tally.reject_rate(),
            Self::UnreadableRate => tally.unreadable_rate(),
            Self::DropRate => tally.drop_rate(),
            Self::Precision => tally.confusion().precision(),
            Self::Recall => tally.confusion().recall(),
            Self::F1 => tally.confusion().f1(),
            Self::FalseRejectRate => tally.confusion().false_reject_rate(),
            Self::EscapeRate => tally.confusion().escape_rate(),
            Self::Auroc | Self::Drift | Self::P50 | Self::P95 | Self::P99 => None,
        }
    }
}

/// Reads a duration as rules have it: `15m`, `10 s`, `1.5 h`; microseconds.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn parse_duration_us(text: &str) -> Result<u64, String> {
    if text.len() > RULE_CHARS_MAX {
        return Err(format!("a duration has at most {RULE_CHARS_MAX} characters"));
    }
    let words = words(text);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match duration(&words)? {
        (duration_us, []) => Ok(duration_us),
        (_, [extra, ..]) => Err(format!("nothing belongs behind the duration, and there is \"{extra}\"")),
    }
}

impl std::str::FromStr for AlertRule {
    type Err = String;

    /// Reads a rule: `FIGURE [DURATION|shift|lot] >|< NUMBER [%]` or `camera silent DURATION`, durations in s, m or h.
    fn from_str(rule: &str) -> Result<Self, String> {
        if rule.chars().nth(RULE_CHARS_MAX).is_some() {
            return Err(format!(
                "cannot read an alert rule of more than {RULE_CHARS_MAX} characters"
            ));
        }
        parse(&words(rule)).map_err(|reason| format!("cannot read alert rule \"{rule}\": {reason}"))
    }
}

/// Splits into names, numbers and signs, wherever one kind ends: `15m>5%` is five words.
fn words(rule: &str) -> Vec<String> {
    let kind = |c: char| match c {
        '0'..='9' | '.' => 0,
        'a'..='z' | 'A'..='Z' | '_' => 1,
        _ => 2,
    };
    let mut words: Vec<String> = Vec::new();
    for part in rule.split_whitespace() {
        let mut last = None;
        for c in part.chars() {
            // A digit goes on with a name (`f1`), a letter does not go on with a number (`15m`).
            let goes_on = last == Some(kind(c)) || (last == Some(1) && kind(c) == 0);
            match words.last_mut() {
                Some(word) if goes_on && kind(c) != 2 => word.push(c),
                _ => {
                    words.push(c.to_string());
                    last = Some(kind(c));
                }
            }
        }
    }
    words
}

fn parse(words: &[String]) -> Result<AlertRule, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Err("it is empty; write for instance `reject_rate 15m > 5 %`".into()),
        ["camera", "silent", rest @ ..] => match duration(rest)? {
            (after_us, []) => Ok(AlertRule::Silent { after_us }),
            (_, [extra, ..]) => Err(format!("nothing belongs behind the duration, and there is \"{extra}\"")),
        },
        ["camera", ..] => Err("a rule about a camera reads `camera silent 10 s`".into()),
        [name, rest @ ..] => beyond(name, rest),
    }
}

fn beyond(name: &str, rest: &[&str]) -> Result<AlertRule, String> {
    let figure = FIGURES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, figure)| *figure);
    let Some(figure) = figure else {
        let names: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "there is no figure \"{name}\"; there are {}, and `camera silent`",
            names.join(", ")
        ));
    };
    let sliding = |length_us| RuleWindow::Sliding { length_us };
    let (window, rest) = match rest {
        [">" | "<", ..] | [] => (sliding(WINDOW_US), rest),
        ["shift", rest @ ..] => (RuleWindow::Shift, rest),
        ["lot", rest @ ..] => (RuleWindow::Lot, rest),
        _ => duration(rest).map(|(length_us, rest)| (sliding(length_us), rest))?,
    };
    let (above, rest) = match rest {
        [">", rest @ ..] => (true, rest),
        ["<", rest @ ..] => (false, rest),
        [other, ..] => return Err(format!("`>` or `<` is expected where \"{other}\" is")),
        [] => return Err("`>` or `<` and a limit are missing".into()),
    };
    let (limit, rest) = match rest {
        [limit, "%", rest @ ..] => (number(limit)? / 100.0, rest),
        [limit, rest @ ..] => (number(limit)?, rest),
        [] => return Err("the limit is missing".into()),
    };
    if let [extra, ..] = rest {
        return Err(format!("nothing belongs behind the limit, and there is \"{extra}\""));
    }
    if figure != Figure::Drift && limit > 1.0 {
        return Err(format!("{limit} is no share: it is at most 1, or write `{limit} %`"));
    }
    Ok(AlertRule::Beyond {
        figure,
        window,
        above,
        limit,
    })
}

fn duration<'a>(words: &'a [&'a str]) -> Result<(u64, &'a [&'a str]), String> {
    let (amount, unit, rest) = match words {
        [amount, unit, rest @ ..] => (number(amount)?, *unit, rest),
        [amount] => return Err(format!("\"{amount}\" needs a unit: s, m or h")),
        [] => return Err("a duration is missing, for instance `10 s`".into()),
    };
    let unit_us = match unit {
        "s" => SECOND_US,
        "m" | "min" => 60 * SECOND_US,
        "h" => 3600 * SECOND_US,
        _ => return Err(format!("there is no unit \"{unit}\"; there are s, m and h")),
    };
    let seconds = amount * (unit_us / SECOND_US) as f64;
    if !(1.0..=1e9).contains(&seconds) || seconds.fract() != 0.0 {
        return Err(format!(
            "a duration is a whole number of seconds, at least 1, and not {seconds}"
        ));
    }
    Ok((seconds as u64 * SECOND_US, rest))
}

fn number(word: &str) -> Result<f64, String> {
    let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .filter(|_| word.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
        .ok_or_else(|| format!("\"{word}\" is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_people_write_them() {
        let of = |figure, window, above, limit| AlertRule::Beyond {
            figure,
            window,
            above,
            limit,
        };
        let beyond = |figure, length_us, above, limit| of(figure, RuleWindow::Sliding { length_us }, above, limit);
        for (text, rule) in [
            (
                "reject_rate 15m > 5 %",
                beyond(Figure::RejectRate, 900_000_000, true, 0.05),
            ),
            (
                "reject_rate 15 m>5%",
                beyond(Figure::RejectRate, 900_000_000, true, 0.05),
            ),
            ("f1 1h < 0.9", beyond(Figure::F1, 3_600_000_000, false, 0.9)),
            ("auroc 1h < 0.95", beyond(Figure::Auroc, 3_600_000_000, false, 0.95)),
            ("drift > 0.2", beyond(Figure::Drift, 900_000_000, true, 0.2)),
            ("p95 1m > 0.4", beyond(Figure::P95, 60_000_000, true, 0.4)),
            (
                "reject_rate shift>5%",
                of(Figure::RejectRate, RuleWindow::Shift, true, 0.05),
            ),
            ("recall lot < 0.95", of(Figure::Recall, RuleWindow::Lot, false, 0.95)),
            ("camera silent 10 s", AlertRule::Silent { after_us: 10_000_000 }),
            ("camera silent 1.5min", AlertRule::Silent { after_us: 90_000_000 }),
        ] {
            assert_eq!(text.parse(), Ok(rule), "{text}");
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, said) in [
            ("", "it is empty"),
            ("rejects 15m > 5 %", "no figure \"rejects\"; there are reject_rate"),
            ("reject_rate 15 > 5 %", "no unit \">\""),
            ("reject_rate 15d > 5 %", "no unit \"d\""),
            ("reject_rate day > 5 %", "\"day\" is not a number"),
            ("reject_rate 15m = 5 %", "expected where \"=\" is"),
            ("reject_rate 15m", "`>` or `<` and a limit are missing"),
            ("reject_rate 15m >", "the limit is missing"),
            ("reject_rate 15m > many", "\"many\" is not a number"),
            ("reject_rate 15m > 1.2.3", "\"1.2.3\" is not a number"),
            ("reject_rate 15m > 5", "5 is no share: it is at most 1, or write `5 %`"),
            ("reject_rate 15m > 5 % now", "behind the limit, and there is \"now\""),
            ("camera gone", "reads `camera silent 10 s`"),
            ("camera silent", "a duration is missing"),
            ("camera silent 10", "\"10\" needs a unit"),
            ("camera silent 0 s", "at least 1, and not 0"),
            ("camera silent 99999999999h", "and not 359999999996400"),
            ("camera silent 10 s too", "there is \"too\""),
            ("drift > -1", "\"-\" is not a number"),
        ] {
            let error = text.parse::<AlertRule>().unwrap_err();
            assert!(error.contains(said), "{error}");
            assert!(error.contains(text), "{error}");
        }
        assert!(
            "é "
                .repeat(300)
                .parse::<AlertRule>()
                .unwrap_err()
                .contains("more than 200 characters")
        );
    }
}
