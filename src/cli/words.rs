//! Times and tables in words.

use std::time::{Duration, SystemTime};

/// `2m 3s`: the two largest units, never finer than a second.
pub(super) fn length(span: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// How long ago an RFC 3339 time was; `?` for something else.
pub(super) fn ago(stamp: &str, now: SystemTime) -> String {
    humantime::parse_rfc3339_weak(stamp).map_or_else(
        |_other| "?".to_owned(),
        |then| length(now.duration_since(then).unwrap_or_default()),
    )
}

/// An RFC 3339 time to the second.
pub(super) fn to_the_second(stamp: &str) -> String {
    match stamp.split_once('.') {
        Some((seconds, _fraction)) => format!("{seconds}Z"),
        None => stamp.to_owned(),
    }
}

/// Left-aligned columns, two blanks apart, as wide as their widest cell; the last one is not padded.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<[String; N]> {
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
    use super::{ago, columns, length, to_the_second};
    use std::time::{Duration, SystemTime};

    #[test]
    fn lengths_are_short() {
        assert_eq!(length(Duration::from_millis(123_456_789)), "1day 10h");
        assert_eq!(length(Duration::from_millis(999)), "0s");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(90);
        assert_eq!(ago("1970-01-01T00:00:30.000Z", now), "1m");
        assert_eq!(ago("1970-01-01T00:02:00Z", now), "0s");
        assert_eq!(ago("soon", now), "?");
        assert_eq!(
            to_the_second("1970-01-01T00:00:30.123Z"),
            "1970-01-01T00:00:30Z"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "b"], ["long", "x y"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), [["a   ", "b"], ["long", "x y"]]);
    }
}
