//! The text of a file, and the conversion of byte offsets to lines and columns.

use super::finding::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The number of characters is stored for each multiple of this many bytes, so that finding a column takes constant time.
const STEP_BYTES: usize = 64;

/// The text of a file that was read.
#[derive(Debug)]
pub(super) struct Source {
    path: Arc<PathBuf>,
    text: String,
    /// The offset of the beginning of each line.
    line_starts: Vec<usize>,
    /// The number of characters that begin before each multiple of STEP_BYTES, and in total.
    chars_before: Vec<usize>,
}

impl Source {
    pub(super) fn new(path: &Path, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(ends.map(|(end, _)| end + 1));
        let mut chars_before = vec![0];
        let mut count = 0;
        for step in text.as_bytes().chunks(STEP_BYTES) {
            count += count_char_starts(step);
            chars_before.push(count);
        }
        Self {
            path: Arc::new(path.to_owned()),
            line_starts: line_starts.collect(),
            chars_before,
            text,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The file as a whole.
    pub(super) fn whole(&self) -> Location {
        Location::File(Arc::clone(&self.path))
    }

    /// The line and column of this byte offset; an offset beyond the end counts as the end.
    pub(super) fn at(&self, byte: usize) -> Location {
        let byte = byte.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= byte);
        let line_start = line.checked_sub(1).map_or(0, |nth| self.line_starts[nth]);
        Location::Point {
            file: Arc::clone(&self.path),
            line,
            column: self.chars_to(byte) - self.chars_to(line_start) + 1,
        }
    }

    /// The number of characters that begin before this byte.
    fn chars_to(&self, byte: usize) -> usize {
        let step = byte / STEP_BYTES;
        let rest = &self.text.as_bytes()[step * STEP_BYTES..byte];
        self.chars_before[step] + count_char_starts(rest)
    }
}

/// The number of characters that begin in these bytes of UTF-8.
fn count_char_starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let source = Source::new(Path::new("f"), "ab\nü = 1\n".into());
        let at = |byte| source.at(byte).to_string();
        assert_eq!(at(0), "f:1:1");
        assert_eq!(at(1), "f:1:2");
        assert_eq!(at(3), "f:2:1");
        assert_eq!(at(6), "f:2:3");
        assert_eq!(at(4), "f:2:2", "inside the ü");
        assert_eq!(at(99), "f:3:1");
    }

    #[test]
    fn finding_a_column_in_a_long_line_takes_constant_time() {
        // There are 64 Ki locations. Counting each from the start of the line would take 2^35 steps, far too long for a test.
        let text = "aü=1,".repeat(1 << 17);
        let source = Source::new(Path::new("f"), text.clone());
        for (nth, (byte, _)) in text.char_indices().step_by(10).enumerate() {
            let Location::Point { line, column, .. } = source.at(byte) else {
                panic!("a point");
            };
            assert_eq!((line, column), (1, 10 * nth + 1));
        }
        assert_eq!(
            source.at(usize::MAX).to_string(),
            format!("f:1:{}", 5 * (1 << 17) + 1)
        );
    }
}
