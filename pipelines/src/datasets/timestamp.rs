//! Reads times as manifests write them.

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The end of the year 9999, which is as far as RFC 3339 goes. Nanoseconds since 1970, the likeliest mistake, lie beyond it
/// (since 1978), and no window of time that begins before it can overflow.
const MICROS_END: u64 = 253_402_300_800 * MICROS_PER_SECOND;

/// Microseconds since 1970-01-01T00:00:00Z, of an integer in that unit or of an RFC 3339 time
/// (`2026-05-04T06:30:00.250Z`, `2026-05-04 08:30:00+02:00`). Digits below the microsecond are cut off. None for anything
/// else: times before 1970 or after 9999, dates that do not exist, leap seconds, times without a zone.
pub fn parse_micros(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|micros| *micros < MICROS_END);
    }
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let (micros, zone) = fraction(rest)?;
    if !(1..=12).contains(&month)
        || !(1..=days_in(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    let seconds = u64::try_from(seconds - zone_seconds(zone)?).ok()?;
    Some(seconds * MICROS_PER_SECOND + micros)
}

/// Three numbers with exactly these many digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut values = [0; 3];
    for (value, digits) in values.iter_mut().zip(digits) {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *value = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then_some(values)
}

/// Microseconds of `.25Z`, and what follows the digits.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(digits_on) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let n_digits = digits_on.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, zone) = digits_on.split_at(n_digits);
    let micros = format!("{:0<6}", &digits[..n_digits.min(6)]).parse().ok()?;
    (n_digits > 0).then_some((micros, zone))
}

/// Seconds east of Greenwich of `Z` or `+02:00`.
fn zone_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hours, minutes, _] = numbers(&format!("{}:00", &zone[1..]), ':', [2, 2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, proleptic Gregorian (H. Hinnant, "chrono-compatible low-level date algorithms", days_from_civil):
/// years begin in March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_with_the_date_command() {
        // date -u -d "$time" +%s
        for (time, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-05-04T08:30:00+02:00", 1_777_876_200),
            ("2026-05-04 06:30:00z", 1_777_876_200),
            ("2024-12-31T23:59:59-01:30", 1_735_694_999),
        ] {
            assert_eq!(parse_micros(time), Some(seconds * 1_000_000), "{time}");
        }
        assert_eq!(parse_micros("1970-01-01T00:00:01.25Z"), Some(1_250_000));
        assert_eq!(parse_micros("1970-01-01T00:00:01.1234569Z"), Some(1_123_456));
        assert_eq!(parse_micros("1777876200000000"), Some(1_777_876_200_000_000));
        assert_eq!(
            parse_micros("9999-12-31T23:59:59.999999Z"),
            parse_micros("253402300799999999")
        );
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = 0;
        for year in 1970..2110 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    assert_eq!(days_since_1970(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "-5",
            "1.5",
            "18446744073709551616",
            "18446744073709551615",
            "253402300800000000",
            // Nanoseconds.
            "1777876200000000000",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:30:00+01:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-05-04T24:00:00Z",
            "2026-05-04T00:00:60Z",
            "2026-05-04T06:30:00",
            "2026-05-04T06:30:00.Z",
            "2026-05-04T06:30:00+2",
            "2026-05-04T06:30:00+é0",
            "2026-05-04",
            "2026-05-0éT06:30:00Z",
            "+026-05-04T06:30:00Z",
            "2026-05-04T06:30:00Zulu",
        ] {
            assert_eq!(parse_micros(text), None, "{text}");
        }
    }
}
