//! `stayd probe URL`: runs one probe attempt and shows its result and duration.

use super::console::{Console, Style};
use super::exit::{Exit, Failure, Outcome};
use super::load_config;
use super::paths::{current_dir, own_program, variable};
use crate::act::probe::ask_once;
use crate::act::spawn::launch::ExecContext;
use crate::act::spawn::spawner::clean_environment;
use crate::config;
use crate::decide::event::Answer;
use serde_json::json;
use std::env;
use std::time::Duration;

/// Runs one probe attempt. The exit status is 0 for alive or degraded, 1 for dead, 4 for no verdict.
pub(super) fn probe(
    console: Console,
    url: &str,
    query: Option<&str>,
    timeout: &str,
    json: bool,
) -> Outcome {
    let cwd = current_dir()?;
    let probe = config::probe_from_command_line(url, query, timeout, &cwd, &variable);
    let probe = probe.map_err(|findings| Failure {
        exit: Exit::Usage,
        ..load_config::failure(&findings)
    })?;
    let program = own_program()?;
    let exec_context = ExecContext {
        env: clean_environment(env::vars_os()),
        cwd,
        ..ExecContext::default()
    };
    super::block_on(async {
        let (answer, took) = ask_once(&probe, program, exec_context).await;
        report(console, &probe.shown, answer, took, json)
    })
}

fn report(console: Console, target: &str, answer: Answer, took: Duration, json: bool) -> Outcome {
    let (exit, style, class, message) = match answer {
        Answer::Alive => (Exit::Done, Style::Good, "alive", None),
        Answer::AliveWithNote { note } => (Exit::Done, Style::Good, "alive", Some(note)),
        Answer::Degraded { said, .. } => (Exit::Done, Style::Warning, "degraded", Some(said)),
        Answer::Dead { how } => (Exit::No, Style::Bad, "dead", Some(how)),
        Answer::NoVerdict { why } => (Exit::NoVerdict, Style::Warning, "no-verdict", Some(why)),
    };
    let latency_ms = (took.as_secs_f64() * 100_000.0).round() / 100.0;
    if json {
        let answer = json!({ "target": target, "class": class, "message": message, "latency_ms": latency_ms });
        console.json(&answer)?;
    } else {
        let message = message
            .map(|message| format!(": {message}"))
            .unwrap_or_default();
        let mut text = console.text();
        text.plain(&format!("{target}: "))
            .styled(style, class)
            .plain(&format!(" in {latency_ms} ms{message}"))
            .end_line();
        console.print(&text)?;
    }
    Ok(exit)
}
