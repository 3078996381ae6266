//! Small questions about text: placeholders, the nearest known word, words in quotes.

/// The word of `known` that is spelled most similarly, if few letters differ, else one that begins so: `WorkingDir` is meant for
/// `WorkingDirectory`. The case does not count.
pub(super) fn nearest<'k>(
    known: impl IntoIterator<Item = &'k str>,
    wrong: &str,
) -> Option<&'k str> {
    let allowed = (wrong.chars().count() / 5).clamp(1, 3);
    let lower = wrong.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &lower);
    let rank = |word: &'k str| {
        if word.len().abs_diff(wrong.len()) <= allowed {
            return Some((0, distance(word), word));
        }
        // The keys are ASCII, so that every length is a boundary.
        let beginning = word.get(..=wrong.len()).filter(|_| wrong.len() >= 8)?;
        let differs = distance(beginning).min(distance(&beginning[..wrong.len()]));
        Some((1, differs, word))
    };
    known
        .into_iter()
        .filter_map(rank)
        .filter(|(_, differs, _)| *differs <= allowed)
        .min_by_key(|(kind, differs, _)| (*kind, *differs))
        .map(|(_, _, word)| word)
}

/// The last component of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The placeholder of a template language in the text: `{{…}}`, `{%…%}`, `<%…%>`, `@NAME@`, `__NAME__`, `%%NAME%%`. What a
/// template makes of it is unknown.
pub(super) fn template_placeholder(text: &str) -> Option<&str> {
    let paired = [
        ("{{", "}}"),
        ("{%", "%}"),
        ("<%", "%>"),
        ("@@", "@@"),
        ("%%", "%%"),
        ("#{", "}"),
    ];
    let in_pair = paired.iter().find_map(|(open, close)| {
        let start = text.find(open)?;
        let inside = &text[start + open.len()..];
        let end = inside.find(close)?;
        let is_name = inside[..end].chars().any(char::is_alphanumeric);
        let plausible = open.starts_with(['{', '<', '#'])
            || inside[..end]
                .chars()
                .all(|c| c.is_alphanumeric() || "_-.".contains(c));
        (is_name && plausible).then(|| &text[start..start + open.len() + end + close.len()])
    });
    in_pair
        .or_else(|| enclosed(text, "@", |c| c.is_ascii_alphanumeric() || "_-".contains(c)))
        .or_else(|| {
            enclosed(text, "__", |c| {
                c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit()
            })
        })
}

/// A name between two marks, such as `@prefix@`.
fn enclosed<'t>(text: &'t str, mark: &str, in_name: fn(char) -> bool) -> Option<&'t str> {
    let start = text.find(mark)?;
    let inside = &text[start + mark.len()..];
    let end = inside.find(mark)?;
    let name = &inside[..end];
    let is_name = !name.is_empty() && name.chars().all(in_name) && !name.starts_with('_');
    is_name.then(|| &text[start..start + end + 2 * mark.len()])
}

/// A placeholder that a person was to fill in: `<your-user>`, `CHANGEME`.
pub(super) fn open_placeholder(text: &str) -> Option<&str> {
    const WORDS: [&str; 7] = [
        "CHANGEME",
        "CHANGE_ME",
        "CHANGE-ME",
        "REPLACEME",
        "REPLACE_ME",
        "REPLACE-ME",
        "FILL_ME_IN",
    ];
    if let Some(word) = WORDS.iter().find(|word| text.contains(**word)) {
        let start = text.find(word)?;
        return text.get(start..start + word.len());
    }
    let start = text.find('<')?;
    let inside = &text[start + 1..];
    let end = inside.find('>')?;
    let name = &inside[..end];
    let is_name = name.len() > 1
        && name.starts_with(|c: char| c.is_alphabetic())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || " _-./".contains(c));
    is_name.then(|| &text[start..start + end + 2])
}

/// A word that asks the reader to write something else, such as `YOUR_USERNAME`.
pub(super) fn sample_word(text: &str) -> Option<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c)));
    let mut words = words.filter(|word| word.len() > 5);
    words.find(|word| {
        ["YOUR_", "YOUR-", "your_", "your-"]
            .iter()
            .any(|beginning| word.starts_with(beginning))
    })
}

/// Whether the name of a file says that a program makes the real file from it.
pub(super) fn is_template_name(name: &str) -> bool {
    const ENDINGS: [&str; 11] = [
        ".in",
        ".tmpl",
        ".template",
        ".tpl",
        ".j2",
        ".jinja",
        ".jinja2",
        ".erb",
        ".mustache",
        ".ejs",
        ".m4",
    ];
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A beginning that only a shell expands: `~`, `~/`, `$HOME`, `${HOME}`, `$USER`.
pub(super) fn shell_beginning(text: &str) -> Option<&str> {
    if text == "~" || text.starts_with("~/") {
        return Some("~");
    }
    let rest = text.strip_prefix('$')?;
    let name = rest.trim_start_matches('{');
    let length = name
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(name.len());
    let first = name.chars().next()?;
    if length == 0 || first.is_ascii_digit() {
        return None;
    }
    let braces = rest.len() - name.len();
    let end = (1 + braces + length + braces).min(text.len());
    text.get(..end)
}

/// A text in backquotes, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    if text.chars().count() > SHOWN_MAX {
        let cut: String = text.chars().take(SHOWN_MAX).collect();
        return format!("`{cut}…`");
    }
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::{nearest, open_placeholder, shell_beginning, template_placeholder};

    #[test]
    fn placeholders_are_told_from_ordinary_text() {
        for text in [
            "{{X}}/a",
            "@@PODMAN@@",
            "@prefix@/bin",
            "__BUNDLE_ID__.x",
            "%%USER%%",
            "<%= a %>",
        ] {
            assert!(template_placeholder(text).is_some(), "{text}");
        }
        for text in [
            "%h/bin",
            "a@b.c",
            "user@host @ x",
            "/a/__init__.py",
            "50%% of %%",
            "{\"a\": {\"b\":0}}",
            "${A}",
        ] {
            assert_eq!(template_placeholder(text), None, "{text}");
        }
        for text in ["<your user>", "/home/<user>/x", "CHANGEME", "x_REPLACE_ME"] {
            assert!(open_placeholder(text).is_some(), "{text}");
        }
        for text in ["$(< /etc/args)", "a < b", "a -> b", "2>&1", "<>", "a <b"] {
            assert_eq!(open_placeholder(text), None, "{text}");
        }
    }

    #[test]
    fn beginnings_that_a_shell_expands_are_found() {
        for (text, beginning) in [
            ("~/x", "~"),
            ("$HOME/x", "$HOME"),
            ("${HOME}/x", "${HOME}"),
            ("${A", "${A"),
        ] {
            assert_eq!(shell_beginning(text), Some(beginning), "{text}");
        }
        for text in ["~user", "/a/~/b", "$", "$1", "a$HOME", "$$x"] {
            assert_eq!(shell_beginning(text), None, "{text}");
        }
    }

    #[test]
    fn the_nearest_word_differs_in_few_letters() {
        let known = ["Environment", "EnvironmentFile", "ExecStop", "User"];
        assert_eq!(nearest(known, "Environmet"), Some("Environment"));
        assert_eq!(nearest(known, "user"), Some("User"));
        assert_eq!(nearest(known, "ExecQuit"), None);
        assert_eq!(
            nearest(["EnvironmentVariables"], "Enviroment"),
            Some("EnvironmentVariables")
        );
        assert_eq!(nearest(["ServiceIPC"], "ServiceDescription"), None);
    }
}
