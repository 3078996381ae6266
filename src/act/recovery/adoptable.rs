//! Describes an adoptable instance of an earlier stayd: its claim, compared with the configuration.

use crate::act::claims::Claim;
use crate::act::context::ServiceContext;
use crate::config;
use crate::decide::event::{AdoptableInstance, ChangedSetting, Life};
use crate::decide::runtime::RuntimeId;
use crate::sys::process::{self, Process};
use std::time::Duration;

/// The description of an instance that is proven ours, for the event.
pub(super) fn adoptable(
    service: &ServiceContext,
    claim: &Claim,
    main: Option<Process>,
) -> AdoptableInstance {
    AdoptableInstance {
        life: Life(claim.life),
        main,
        was_ready: claim.ready,
        ending: claim.ending,
        age: main.map_or(Duration::ZERO, process::age),
        changed_settings: changed_settings(&service.config, claim),
        runtime: claim.fingerprint.clone().map(RuntimeId),
    }
}

/// The settings that the instance was started with and that the configuration has changed since.
fn changed_settings(config: &config::Service, claim: &Claim) -> Vec<ChangedSetting> {
    let records_user_and_env = claim.env_key.is_some();
    let command = claim.command_key.as_ref();
    let changed = [
        (
            command.is_some_and(|key| *key != config.command_key()),
            ChangedSetting::Command,
        ),
        (
            records_user_and_env && claim.user != config.user,
            ChangedSetting::User,
        ),
        (
            records_user_and_env && claim.env_key != Some(config.env_key()),
            ChangedSetting::Environment,
        ),
        (
            claim.workspace != config.cwd_in(claim.runtime.as_deref()),
            ChangedSetting::Folder,
        ),
    ];
    let changed = changed.into_iter();
    changed
        .filter_map(|(has_changed, setting)| has_changed.then_some(setting))
        .collect()
}
