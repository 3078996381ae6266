//! A file's text, and where in it something stands.

use super::finding::Place;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that has been read.
#[derive(Debug)]
pub(super) struct Source {
    path: Arc<PathBuf>,
    text: String,
}

impl Source {
    pub(super) fn new(path: &Path, text: String) -> Self {
        Self {
            path: Arc::new(path.to_owned()),
            text,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The file as a whole.
    pub(super) fn whole(&self) -> Place {
        Place::File(Arc::clone(&self.path))
    }

    /// The point at this byte; the end of the text when it lies behind it.
    pub(super) fn at(&self, byte: usize) -> Place {
        let before: &str = match self.text.char_indices().rfind(|(start, _)| *start < byte) {
            Some((start, c)) => &self.text[..start + c.len_utf8()],
            None => "",
        };
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Point {
            file: Arc::clone(&self.path),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
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
        assert_eq!(at(4), "f:2:2", "within the ü");
        assert_eq!(at(99), "f:3:1");
    }
}
