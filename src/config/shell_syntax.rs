//! Warns about commands that are written for a shell: stayd passes operators and redirections to the program as arguments.

use super::Service;
use super::finding::Findings;
use super::prerequisite::programs;
use super::section::Section;
use super::service::is_shell;

/// Warns about each command of the service in which a word of its own is an operator of the shell.
pub(super) fn warn(service: &Service, section: &Section, findings: &mut Findings) {
    for (key, words) in programs(service) {
        let operator = words.iter().skip(1).find(|word| is_operator(word));
        if let Some(operator) = operator.filter(|_| !is_shell(words)) {
            let program = &words[0];
            findings.warning(
                section.location(key),
                format!(
                    "no shell runs this command, so {program} gets `{operator}` as an argument; run it with `sh -c '…'`, or write a \
                     script"
                ),
            );
        }
    }
}

/// Whether the word is an operator or a usual redirection (POSIX.1-2017, Shell Command Language, 2.2 and 2.7).
fn is_operator(word: &str) -> bool {
    const OPERATORS: [&str; 8] = ["|", "||", "&", "&&", ";", "<", ">", ">>"];
    const REDIRECTIONS: [&str; 5] = ["2>", "2>&1", ">/dev/null", "2>/dev/null", "&>/dev/null"];
    OPERATORS.contains(&word) || REDIRECTIONS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::is_operator;

    #[test]
    fn operators_and_redirections_are_found_and_other_words_are_not() {
        for word in ["||", "&&", "|", ";", "&", ">", "2>&1", ">/dev/null"] {
            assert!(is_operator(word), "{word}");
        }
        for word in [
            "",
            "a|b",
            "--format=a>b",
            "&c",
            "2",
            "->",
            "http://h/?a=1&b=2",
        ] {
            assert!(!is_operator(word), "{word}");
        }
    }
}
