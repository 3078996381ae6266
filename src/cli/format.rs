//! Formats durations, timestamps and table columns for people.

use crate::sys::clock;
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

/// The RFC 3339 timestamp `stamp` as local time with its offset from UTC, to the second.
pub(super) fn local(stamp: &str) -> String {
    let at = humantime::parse_rfc3339_weak(stamp).ok();
    at.map_or_else(|| stamp.to_owned(), local_time)
}

/// The same for a point in time.
pub(super) fn local_time(at: SystemTime) -> String {
    clock::local_time(at).unwrap_or_else(|| humantime::format_rfc3339_seconds(at).to_string())
}

/// An amount of memory such as `70 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0);
    let (name, shift) = unit.unwrap_or(("B", 0));
    let whole = bytes >> shift;
    let tenth = ((bytes - (whole << shift)) * 10) >> shift;
    if whole < 10 && shift > 0 {
        format!("{whole}.{tenth} {name}")
    } else {
        format!("{whole} {name}")
    }
}

/// CPU time such as `0.3s` or `2m 3s`.
pub(super) fn cpu_time(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1}s");
    }
    Duration::try_from_secs_f64(seconds).map_or_else(|_| "?".to_owned(), duration)
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
    use super::{age, bytes, columns, cpu_time, duration};
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
            [0, 1023, 1024, 73_400_320, 5 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "70 MiB", "5.0 GiB"]
        );
        assert_eq!([0.34, 123.4].map(cpu_time), ["0.3s", "2m 3s"]);
    }

    #[test]
    fn each_column_is_as_wide_as_its_widest_cell() {
        let rows = [["a", "b"], ["l\n", "x y"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), [["a  ", "b"], ["l\\n", "x y"]]);
    }
}
