//! RFC 3339 text of a timestamp with exactly six digits of the second, written and read without allocation: the relay
//! and the feed do this for every event. Only years 0 to 9999 have such a text.
//!
//! Civil dates from days: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.

use annals_core::clock::Timestamp;

/// Bytes of the text, as in `2018-01-01T00:00:02.610123Z`.
pub(crate) const TEXT_BYTES: usize = 27;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 0000-01-01 and 10000-01-01, in days since 1970-01-01.
const DAYS: std::ops::Range<i64> = -719_528..2_932_897;

/// The text, or nothing where the year has more than four digits or is negative.
pub(crate) fn text(time: Timestamp) -> Option<[u8; TEXT_BYTES]> {
    let days = time.0.div_euclid(MICROS_PER_DAY);
    if !DAYS.contains(&days) {
        return None;
    }
    let micros = time.0.rem_euclid(MICROS_PER_DAY);
    let (year, month, day) = civil(days);
    let seconds = micros / 1_000_000;
    let mut out = *b"0000-00-00T00:00:00.000000Z";
    put(&mut out[0..4], year);
    put(&mut out[5..7], month);
    put(&mut out[8..10], day);
    put(&mut out[11..13], seconds / 3600);
    put(&mut out[14..16], seconds / 60 % 60);
    put(&mut out[17..19], seconds % 60);
    put(&mut out[20..26], micros % 1_000_000);
    Some(out)
}

/// Reads text of exactly this form.
pub(crate) fn parse(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; TEXT_BYTES] = text.try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let (year, month, day) = (take(&text[0..4])?, take(&text[5..7])?, take(&text[8..10])?);
    let (hour, minute, second) = (take(&text[11..13])?, take(&text[14..16])?, take(&text[17..19])?);
    let micros = take(&text[20..26])?;
    let days = days(year, month, day);
    if civil(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Some(Timestamp(days * MICROS_PER_DAY + seconds * 1_000_000 + micros))
}

fn put(out: &mut [u8], mut number: i64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

fn take(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, &digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`]; a day or month that does not exist gives another one's number.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text() {
        let random = annals_core::random::SeededRandom::new(7);
        let (first, last) = (DAYS.start * MICROS_PER_DAY, DAYS.end * MICROS_PER_DAY - 1);
        let span = last.abs_diff(first);
        let drawn =
            (0..100_000).map(|_| first + i64::try_from(random.below(span)).expect("the span fits"));
        for time in drawn.chain([first, last, -1, 0, 1, 1_709_164_800_000_000]) {
            let text = text(Timestamp(time)).expect("a four-digit year");
            assert_eq!(parse(&text), Some(Timestamp(time)), "{}", String::from_utf8_lossy(&text));
        }
        assert_eq!(text(Timestamp(first - 1)), None);
        assert_eq!(text(Timestamp(last + 1)), None);
    }

    #[test]
    fn the_text_is_what_the_clock_shows() {
        let time = Timestamp(1_514_764_802_610_123);
        assert_eq!(text(time).map(|t| t.to_vec()), Some(time.to_string().into_bytes()));
    }

    #[test]
    fn other_text_is_refused() {
        for bad in [
            "2018-01-01T00:00:02.61Z",
            "2018-02-30T00:00:00.000000Z",
            "2018-13-01T00:00:00.000000Z",
            "2018-01-01T24:00:00.000000Z",
            "2018-01-01 00:00:00.000000Z",
            "2o18-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
