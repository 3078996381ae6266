//! `stayd probe URL`: one question, timed.

use super::configuration::wrong;
use super::exit::{Exit, Failure, Outcome};
use super::instance::{here, variable};
use super::screen::{Paint, Screen};
use crate::act::probe::ask_once;
use crate::act::spawn::launch::ExecContext;
use crate::act::spawn::spawner::clean_environment;
use crate::config;
use crate::decide::event::Answer;
use crate::sys;
use serde_json::json;
use std::env;
use std::time::Duration;

/// Asks, and says which class the answer is of: 0 alive or degraded, 1 dead, 4 no verdict.
pub(super) fn probe(
    screen: Screen,
    url: &str,
    query: Option<&str>,
    timeout: &str,
    json: bool,
) -> Outcome {
    let here = here()?;
    let probe = config::probe_from_command_line(url, query, timeout, &here, &variable);
    let probe = probe.map_err(|findings| Failure {
        exit: Exit::Usage,
        ..wrong(&findings)
    })?;
    let program = sys::identity::own_program()
        .map_err(|error| Failure::system("find its own program", &error))?;
    let exec_context = ExecContext {
        env: clean_environment(env::vars_os()),
        cwd: here,
        user: None,
    };
    super::block_on(async {
        let (answer, took) = ask_once(&probe, program, exec_context).await;
        report(screen, &probe.shown, answer, took, json)
    })
}

fn report(screen: Screen, target: &str, answer: Answer, took: Duration, json: bool) -> Outcome {
    let (exit, paint, class, said) = match answer {
        Answer::Alive => (Exit::Done, Paint::Good, "alive", None),
        Answer::Degraded { said, .. } => (Exit::Done, Paint::Odd, "degraded", Some(said)),
        Answer::Dead { how } => (Exit::No, Paint::Bad, "dead", Some(how)),
        Answer::NoVerdict { why } => (Exit::NoVerdict, Paint::Odd, "no-verdict", Some(why)),
    };
    let latency_ms = (took.as_secs_f64() * 100_000.0).round() / 100.0;
    if json {
        let answer =
            json!({ "target": target, "class": class, "message": said, "latency_ms": latency_ms });
        screen.json(&answer, false)?;
    } else {
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        screen.line(&format!(
            "{target}: {} in {latency_ms} ms{said}",
            screen.paint(paint, class)
        ))?;
    }
    Ok(exit)
}
