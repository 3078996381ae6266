//! What the machine is told of a life that was begun before it: by a claim, held against the configuration.

use super::claim::Claim;
use super::ward::Ward;
use crate::config;
use crate::decide::event::{Former, Leftover, Life, Proc};
use crate::decide::runtime::RuntimeId;
use crate::sys::process::{self, Process};
use std::time::Duration;

/// What is told of a life that is ours.
pub(super) fn leftover(ward: &Ward, claim: &Claim, main: Option<Process>) -> Leftover {
    Leftover {
        life: Life(claim.life),
        main: main.map(|main| Proc {
            pid: main.pid,
            birth: main.birth,
        }),
        ending: claim.ending,
        age: main.map_or(Duration::ZERO, process::age),
        former: former(&ward.config, claim),
        runtime: claim.fingerprint.clone().map(RuntimeId),
    }
}

/// What it was started with and would not be started with now.
fn former(config: &config::Service, claim: &Claim) -> Vec<Former> {
    let knows = claim.env_key.is_some();
    let command = claim.command_key.as_ref();
    let changed = [
        (
            command.is_some_and(|key| *key != config.command_key()),
            Former::Command,
        ),
        (knows && claim.user != config.user, Former::User),
        (
            knows && claim.env_key != Some(config.env_key()),
            Former::Environment,
        ),
        (
            claim.workspace != config.cwd_in(claim.runtime.as_deref()),
            Former::Folder,
        ),
    ];
    let changed = changed.into_iter();
    changed
        .filter_map(|(is_so, former)| is_so.then_some(former))
        .collect()
}
