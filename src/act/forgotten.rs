//! What earlier stayds have left of services that are not configured any more: nobody else names them.

use super::claim::Reading;
use super::shared::Shared;
use super::survey::{is_present, lives};

/// Each that still runs, in a sentence.
#[must_use]
pub fn forgotten(shared: &Shared, configured: &[&str]) -> Vec<String> {
    let claims = shared.claims.borrow();
    let mut claimed = claims.services().unwrap_or_default();
    claimed.retain(|name| !configured.contains(&name.as_str()));
    let sentence = |name: &String| {
        let Reading::Valid(claim) = claims.read(name) else {
            return None;
        };
        let main = claim.main().filter(|_| is_present(shared, &claim))?;
        lives(main).then(|| {
            format!(
                "pid {} was started as life {} of {name}, which is not in the configuration any more; it is left alone and \
                 nobody watches it: stop it with `kill {}`, or put [service.{name}] back",
                main.pid, claim.life, main.pid
            )
        })
    };
    claimed.iter().filter_map(sentence).collect()
}
