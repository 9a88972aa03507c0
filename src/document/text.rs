//! Numbers and times as people read them.

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// Times before this are no dates: they count from the beginning of a video or of a folder of images. The first day of 1971.
const FIRST_DATE_US: u64 = 365 * SECONDS_PER_DAY * MICROS_PER_SECOND;

/// A whole number with its thousands apart: 1,234,567.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun, which takes an s for more than one.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A share in percent, with as many digits as it is small; a dash where there is none.
pub(super) fn percent(share: Option<f64>) -> String {
    let Some(share) = share else {
        return "–".to_owned();
    };
    let percent = 100.0 * share;
    match percent {
        _ if percent == 0.0 => "0 %".to_owned(),
        _ if percent < 0.1 => format!("{percent:.3} %"),
        _ if percent < 10.0 => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
}

/// One number of another as a share: "3 of 20 frames (15.0 %)".
pub(super) fn part_of(part: u64, whole: u64, nouns: &str) -> String {
    let share = (whole > 0).then(|| part as f64 / whole as f64);
    format!("{} of {} {nouns} ({})", count(part), count(whole), percent(share))
}

/// A figure between 0 and 1; a dash where there is none.
pub(super) fn figure(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.4}"))
}

/// A time that some took, of microseconds.
pub(super) fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.2} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// A length of time in its largest unit that makes it whole, of seconds.
pub(super) fn length(seconds: u64) -> String {
    match seconds {
        _ if seconds == 0 => "0 s".to_owned(),
        _ if seconds.is_multiple_of(SECONDS_PER_DAY) => format!("{} d", seconds / SECONDS_PER_DAY),
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// The clock that times are told by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// Minutes that it is ahead of UTC.
    pub(super) utc_offset_minutes: i32,
}

impl Clock {
    /// "26 November 2026, 23:50 UTC", or how long after the beginning of a video or a folder.
    pub(super) fn moment(self, time_us: u64) -> String {
        if !is_date(time_us) {
            return format!("{} from the start", since_start(time_us));
        }
        let [year, month, day] = self.date(time_us);
        let month = MONTHS[(month - 1) as usize];
        format!("{day} {month} {year}, {} {}", &self.time(time_us)[..5], self.name())
    }

    /// "2026-11-26 23:50:07.250", or how long after the beginning.
    pub(super) fn exact(self, time_us: u64) -> String {
        if !is_date(time_us) {
            return since_start(time_us);
        }
        let [year, month, day] = self.date(time_us);
        let millis = time_us / 1_000 % 1_000;
        format!("{year}-{month:02}-{day:02} {}.{millis:03}", self.time(time_us))
    }

    /// "23:50:07"; how long after the beginning where there is no date.
    pub(super) fn time(self, time_us: u64) -> String {
        if !is_date(time_us) {
            return since_start(time_us);
        }
        let second = self.seconds(time_us) % SECONDS_PER_DAY;
        format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
    }

    /// "26 Nov"; nothing where there is no date.
    pub(super) fn day(self, time_us: u64) -> String {
        if !is_date(time_us) {
            return String::new();
        }
        let [_, month, day] = self.date(time_us);
        format!("{day} {}", &MONTHS[(month - 1) as usize][..3])
    }

    /// "UTC", or "UTC+01:00".
    pub(super) fn name(self) -> String {
        let minutes = self.utc_offset_minutes.unsigned_abs();
        let sign = if self.utc_offset_minutes < 0 { '-' } else { '+' };
        match minutes {
            0 => "UTC".to_owned(),
            _ => format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60),
        }
    }

    fn seconds(self, time_us: u64) -> u64 {
        let offset = i64::from(self.utc_offset_minutes) * 60;
        (time_us / MICROS_PER_SECOND).saturating_add_signed(offset)
    }

    /// Year, month and day, proleptic Gregorian (H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
    fn date(self, time_us: u64) -> [u64; 3] {
        // Years begin in March, so that the leap day is their last; eras of 400 years are alike.
        let days = self.seconds(time_us) / SECONDS_PER_DAY + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        [era * 400 + year_of_era + u64::from(month <= 2), month, day]
    }
}

/// Whether a time is a date rather than a time since the beginning of something.
pub(super) fn is_date(time_us: u64) -> bool {
    time_us >= FIRST_DATE_US
}

fn since_start(time_us: u64) -> String {
    let seconds = time_us / MICROS_PER_SECOND;
    let (hours, minutes, tenths) = (seconds / 3_600, seconds / 60 % 60, time_us / 100_000 % 10);
    match (hours, tenths) {
        (0, 0) => format!("{minutes}:{:02}", seconds % 60),
        (0, _) => format!("{minutes}:{:02}.{tenths}", seconds % 60),
        _ => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_date_command() {
        // date -u -d @SECONDS
        let utc = Clock::default();
        for (seconds, text) in [
            (951_827_696, "2000-02-29 12:34:56.000"),
            (1_777_876_200, "2026-05-04 06:30:00.000"),
            (1_735_694_999, "2025-01-01 01:29:59.000"),
            (4_107_542_399, "2100-02-28 23:59:59.000"),
            (4_107_542_400, "2100-03-01 00:00:00.000"),
        ] {
            assert_eq!(utc.exact(seconds * MICROS_PER_SECOND), text);
        }
        let plant = Clock {
            utc_offset_minutes: 330,
        };
        assert_eq!(plant.moment(951_827_696_000_000), "29 February 2000, 18:04 UTC+05:30");
        assert_eq!(
            Clock {
                utc_offset_minutes: -60
            }
            .exact(951_782_400_250_000),
            "2000-02-28 23:00:00.250"
        );
    }

    #[test]
    fn times_of_files_count_from_the_start() {
        let utc = Clock::default();
        assert_eq!(utc.exact(8_200_000), "0:08.2");
        assert_eq!(utc.moment(3_723_000_000), "1:02:03 from the start");
        assert_eq!(utc.day(8_200_000), "");
    }

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!(
            ["0", "999", "1,000", "12,345,678"],
            [0, 999, 1_000, 12_345_678].map(count)
        );
        assert_eq!(part_of(1, 3_000, "frames"), "1 of 3,000 frames (0.033 %)");
        assert_eq!(part_of(0, 0, "frames"), "0 of 0 frames (–)");
        assert_eq!(counted(1, "frame") + &counted(2, "frame"), "1 frame2 frames");
        assert_eq!(
            [took(999), took(1_500), took(12_345), took(2_000_000)],
            ["999 µs", "1.50 ms", "12.3 ms", "2.00 s"]
        );
        assert_eq!(
            [length(90), length(600), length(7_200), length(172_800)],
            ["90 s", "10 min", "2 h", "2 d"]
        );
    }
}
