//! The configuration that `stayd install -- COMMAND` writes.

use super::file::{self, Found};
use super::host::StepError;
use crate::config::CommandLine;
use std::fs;
use std::path::Path;

/// The configuration holds what the command line said: values for the service alone.
const MODE: u32 = 0o600;
/// The first words of the file. The hash of the rest follows, so that an edited file is not lost.
const MARK: &str = "# Written by `stayd install` as ";

/// The text of the configuration for one service. All its paths are absolute; `name` is the name of the instance, `service` that
/// of the service, `here` the working folder.
#[must_use]
pub fn render_config(line: &CommandLine, name: &str, service: &str, here: &Path) -> String {
    let mut body = String::from(
        "# Edit it, then apply it: `stayd config check -c FILE`, `stayd install -c FILE`. stayd.toml(5) has every key.\n",
    );
    let cwd = line
        .cwd
        .as_ref()
        .map_or_else(|| here.to_owned(), |cwd| here.join(cwd));
    let mut key = |text: String| {
        body.push_str(&text);
        body.push('\n');
    };
    key(format!("name = {}\n", quoted(name)));
    key(format!("[service.{service}]"));
    key(format!("command = {}", list(&line.command)));
    if line.runtime.is_none() || line.cwd.is_some() {
        key(format!("cwd = {}", quoted(&cwd.to_string_lossy())));
    }
    if !line.env.is_empty() {
        let pairs = line.env.iter().filter_map(|pair| pair.split_once('='));
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
            .collect();
        key(format!("env = {{ {} }}", pairs.join(", ")));
    }
    if let Some(port) = &line.port {
        key(format!("port = {}", port.trim()));
    }
    if !line.sockets.is_empty() {
        key(format!("sockets = {}", list(&line.sockets)));
    }
    if let Some(grace) = &line.stop_grace {
        key(format!("stop = {{ grace = {} }}", quoted(grace)));
    }
    if let Some(probe) = &line.probe {
        key(format!(
            "\n[service.{service}.watchdog]\nprobe = {}",
            quoted(probe)
        ));
        for (name, value) in [
            ("query", &line.query),
            ("interval", &line.interval),
            ("timeout", &line.timeout),
        ] {
            if let Some(value) = value {
                key(format!("{name} = {}", quoted(value)));
            }
        }
        if let Some(failures) = &line.failures {
            key(format!("failures = {}", failures.trim()));
        }
    }
    if let Some(ready) = &line.ready {
        key(format!(
            "\n[service.{service}.ready]\nprobe = {}",
            quoted(ready)
        ));
    }
    if let Some(runtime) = &line.runtime {
        let source = here.join(runtime);
        key(format!(
            "\n[service.{service}.runtime]\nsource = {}",
            quoted(&source.to_string_lossy())
        ));
    }
    format!("{MARK}{}. {body}", hash(&body))
}

/// Writes the configuration. Returns whether that changed anything.
///
/// # Errors
/// There is another file, or one that was edited; or the system refuses.
pub fn write_config(path: &Path, text: &str) -> Result<bool, StepError> {
    match file::look(path, text, is_unedited)? {
        Found::Same => return Ok(false),
        Found::Nothing | Found::Ours => {}
        Found::Masked | Found::Foreign => {
            return Err(StepError::conflict(format!(
                "cannot write {}: it is a configuration that `stayd install` did not write, or that was edited; install that one with `stayd install -c {}`, or \
                 choose another --name",
                path.display(),
                path.display()
            )));
        }
    }
    file::write(path, text, MODE)?;
    Ok(true)
}

/// Removes the configuration if it is as `stayd install` wrote it. Returns whether it did.
///
/// # Errors
/// The system refuses.
pub fn remove_config(path: &Path) -> Result<bool, StepError> {
    let is_ours = fs::read_to_string(path).is_ok_and(|text| is_unedited(&text));
    if is_ours {
        file::remove(path)?;
    }
    Ok(is_ours)
}

/// Whether `stayd install` wrote exactly this text.
fn is_unedited(text: &str) -> bool {
    let rest = text
        .strip_prefix(MARK)
        .and_then(|rest| rest.split_once(". "));
    rest.is_some_and(|(hashed, body)| hash(body) == hashed)
}

fn hash(body: &str) -> String {
    blake3::hash(body.as_bytes()).to_hex()[..16].to_owned()
}

/// The text as a basic string of TOML: JSON's string, in which TOML refuses only a raw DEL.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\x7f', "\\u007F")
}

fn list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{is_unedited, remove_config, render_config, write_config};
    use crate::config::{self, CommandLine, Config};
    use std::fs;
    use std::path::Path;

    fn text(line: &CommandLine) -> String {
        render_config(line, "shop-1", "server", Path::new("/srv/shop"))
    }

    fn line(command: &[&str]) -> CommandLine {
        CommandLine {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..CommandLine::default()
        }
    }

    /// The services of the file are those of the command line.
    #[test]
    fn the_file_means_what_the_command_line_meant() {
        let full = CommandLine {
            name: Some("shop-1".into()),
            probe: Some("http://127.0.0.1:8080/orders?a=b".into()),
            ready: Some("tcp://127.0.0.1:8080".into()),
            interval: Some("1s".into()),
            timeout: Some("500ms".into()),
            failures: Some("4".into()),
            port: Some("8080".into()),
            sockets: vec!["127.0.0.1:8081".into()],
            stop_grace: Some("7s".into()),
            env: vec!["A=b=\"c\\\n\x7f".into(), "PATH=/bin".into()],
            cwd: Some("sub dir".into()),
            ..line(&["./server", "--greeting", "say \"hi\"\tü"])
        };
        let copied = CommandLine {
            runtime: Some("dist".into()),
            ..line(&["{runtime}/server"])
        };
        for line in [line(&["server"]), full, copied] {
            let expected = Config::from_command_line(&line, Path::new("/srv/shop"), &|_| None);
            let expected = expected.expect("a configuration").config;
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("x.toml");
            write_config(&path, &text(&line)).expect("written");
            let loaded = config::load(&path, &|_| None).expect("valid").config;
            assert_eq!(loaded.services, expected.services);
            assert_eq!(loaded.name, "shop-1");
        }
    }

    #[test]
    fn an_edited_file_is_neither_replaced_nor_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.toml");
        let (one, two) = (text(&line(&["one"])), text(&line(&["two"])));
        assert_eq!(write_config(&path, &one), Ok(true));
        assert_eq!(write_config(&path, &one), Ok(false));
        assert_eq!(write_config(&path, &two), Ok(true), "as stayd wrote it");
        let edited = two.replace("two", "three");
        assert!(is_unedited(&two) && !is_unedited(&edited));
        fs::write(&path, &edited).expect("edited");
        assert!(write_config(&path, &one).is_err());
        assert_eq!(remove_config(&path), Ok(false));
        assert_eq!(fs::read_to_string(&path).expect("it"), edited);
        fs::write(&path, &two).expect("restored");
        assert_eq!(remove_config(&path), Ok(true));
        assert!(!path.exists());
    }
}
