//! Parses dotenv files (`env_file`): `KEY=VALUE` lines, read at each start of a service.

use super::finding::{Finding, Location};
use super::secret::is_variable;
use super::text_file;
use super::value::{env_value, shorten};
use crate::sys::spawn::User;
use std::path::Path;
use std::sync::Arc;

/// Reads an env_file for a service that runs as `user`; none: as stayd's own user. Returns its variables in the order of the
/// file; the last one of the same name applies.
///
/// # Errors
/// The file cannot be read, or not on behalf of that user, or a line is not `KEY=VALUE`. The finding names the file and the first such line, never a value.
pub fn read_env_file(path: &Path, user: Option<&User>) -> Result<Vec<(String, String)>, Finding> {
    let whole = Location::File(Arc::new(path.to_owned()));
    let text = text_file::read_for(path, user)
        .map_err(|error| Finding::error(&whole, format!("cannot read the env_file: {error}")))?;
    parse_env_file(&text, path)
}

/// Parses the text of an env_file; `path` is only used in errors.
///
/// Lines are `KEY=VALUE` or `export KEY=VALUE`. `#` begins a comment at the start of a line and after a blank. Text within
/// `'…'` is literal; within `"…"` the escapes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are replaced. Quoted values may span
/// lines. Variables are not expanded: `$` is literal.
///
/// # Errors
/// The finding names the file and the first line that cannot be parsed, never a value.
pub fn parse_env_file(text: &str, path: &Path) -> Result<Vec<(String, String)>, Finding> {
    let file = Arc::new(path.to_owned());
    let mut pairs = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (pair, after) = entry(rest).map_err(|cause| {
            let location = Location::Line {
                file: Arc::clone(&file),
                line,
            };
            Finding::error(&location, format!("cannot read the line: {cause}"))
        })?;
        pairs.extend(pair);
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    Ok(pairs)
}

type Entry<'t> = (Option<(String, String)>, &'t str);

/// Parses one entry, comment or empty line; returns it with the remaining text.
fn entry(text: &str) -> Result<Entry<'_>, String> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let trimmed = line.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok((None, after));
    }
    let Some((left, _)) = line.split_once('=') else {
        return Err("it has no `=`; write KEY=VALUE".into());
    };
    let name = left.trim();
    let name = name.strip_prefix("export ").map_or(name, str::trim);
    if !is_variable(name) {
        let advice = "use letters, digits and `_`, and do not begin with a digit";
        return Err(format!(
            "`{}` is not a valid variable name; {advice}",
            shorten(name)
        ));
    }
    let right = text[left.len() + 1..].trim_start_matches([' ', '\t']);
    let (value, after) = match right.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&right[1..], quote)?,
        _ => bare(right),
    };
    let value = env_value(name, &value).map_err(|error| error.to_string())?;
    Ok((Some((name.to_owned(), value)), after))
}

/// A value without quotes: it ends at the end of the line, or at a blank followed by `#`.
fn bare(text: &str) -> (String, &str) {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let comment = line
        .find(" #")
        .or_else(|| line.find("\t#"))
        .unwrap_or(line.len());
    let comment = if line.starts_with('#') { 0 } else { comment };
    (line[..comment].trim().to_owned(), after)
}

/// A quoted value; `text` begins after the opening quote.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((value, only_comment(&text[at + 1..])?)),
            '\\' if quote == '"' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(format!("the quote {quote} is not closed; close it"))
}

/// Checks that only a comment follows the closing quote; returns the text after the line.
fn only_comment(text: &str) -> Result<&str, String> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let rest = line.trim();
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(after);
    }
    Err("there is text after the closing quote; put the whole value into the quotes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
        parse_env_file(text, Path::new(".env")).map_err(|finding| finding.to_string())
    }

    fn one(text: &str) -> String {
        let mut pairs = parse(text).expect(text);
        assert_eq!(pairs.len(), 1, "{text}");
        pairs.remove(0).1
    }

    #[test]
    fn values_are_parsed_as_in_other_dotenv_tools() {
        assert_eq!(one("A=b"), "b");
        assert_eq!(one("export A = b c \r\n"), "b c");
        assert_eq!(one("A="), "");
        assert_eq!(one("A= # nothing"), "");
        assert_eq!(one("A=b#c"), "b#c");
        assert_eq!(one("A=b # c"), "b");
        assert_eq!(one("A='b # $c\\n'"), "b # $c\\n");
        assert_eq!(one("A=\"b\\n\\\"c\\\" \\$d\" # e"), "b\n\"c\" $d");
        assert_eq!(one("A=\"b\nc\"\n"), "b\nc");
        assert_eq!(one("\u{feff}# x\n\nA=$HOME\n"), "$HOME");
    }

    #[test]
    fn errors_name_the_line_and_never_the_value() {
        let error = parse("A=\"1\n2\"\n# x\n\nB='geheim\n").expect_err("open quote");
        assert_eq!(
            error,
            ".env:5: cannot read the line: the quote ' is not closed; close it"
        );
        let error = parse("geheim").expect_err("no =");
        assert_eq!(
            error,
            ".env:1: cannot read the line: it has no `=`; write KEY=VALUE"
        );
        assert!(
            parse("A='x'geheim")
                .expect_err("text after the quote")
                .contains("after the closing quote")
        );
        assert!(
            parse("1A=x")
                .expect_err("name")
                .contains("`1A` is not a valid variable name")
        );
        assert!(
            parse("STAYD_TOKEN=x")
                .expect_err("a name that stayd sets")
                .contains("stayd sets")
        );
    }
}
