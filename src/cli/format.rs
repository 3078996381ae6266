//! Formats durations, timestamps and table columns for people.

use crate::sys::terminal::escape;
use std::time::{Duration, SystemTime};

/// A duration such as `2m 3s`: its two largest units, none smaller than a second.
pub(super) fn duration(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The time from the RFC 3339 timestamp `stamp` to `now`; `?` if `stamp` is not such a timestamp.
pub(super) fn age(stamp: &str, now: SystemTime) -> String {
    humantime::parse_rfc3339_weak(stamp).map_or_else(
        |_other| "?".to_owned(),
        |then| duration(now.duration_since(then).unwrap_or_default()),
    )
}

/// An RFC 3339 timestamp without the fraction of a second.
pub(super) fn to_the_second(stamp: &str) -> String {
    match stamp.split_once('.') {
        Some((seconds, _fraction)) => format!("{seconds}Z"),
        None => stamp.to_owned(),
    }
}

/// Pads the cells of each column to the width of its widest cell. The last column is not padded. The cells are escaped first,
/// because an escape is wider than its character.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<[String; N]> {
    let escaped = rows
        .iter()
        .map(|row| std::array::from_fn(|column| escape(&row[column])));
    let rows: Vec<[_; N]> = escaped.collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let padded = rows.iter().map(|row| {
        std::array::from_fn(|column| {
            let width = if column + 1 == N { 0 } else { widths[column] };
            format!("{:<width$}", row[column])
        })
    });
    padded.collect()
}

#[cfg(test)]
mod tests {
    use super::{age, columns, duration, to_the_second};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_duration_has_its_two_largest_units() {
        assert_eq!(duration(Duration::from_millis(123_456_789)), "1day 10h");
        assert_eq!(duration(Duration::from_millis(999)), "0s");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(90);
        assert_eq!(age("1970-01-01T00:00:30.000Z", now), "1m");
        assert_eq!(age("1970-01-01T00:02:00Z", now), "0s");
        assert_eq!(age("soon", now), "?");
        assert_eq!(
            to_the_second("1970-01-01T00:00:30.123Z"),
            "1970-01-01T00:00:30Z"
        );
    }

    #[test]
    fn each_column_is_as_wide_as_its_widest_cell() {
        let rows = [["a", "b"], ["l\n", "x y"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), [["a  ", "b"], ["l\\n", "x y"]]);
    }
}
