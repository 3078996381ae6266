//! `stayd runtime ls`: lists the runtimes with their services and the processes that use them.

use super::context::RuntimeContext;
use crate::act::runtime::inventory::{InventoryItem, ServiceUse};
use crate::act::runtime::size;
use crate::api::view::rfc3339;
use crate::api::wire::SCHEMA;
use crate::cli::console::{Console, Style, Text};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::format::{age, columns};
use crate::sys;
use serde_json::{Value, json};
use std::path::Path;
use std::time::SystemTime;

/// How many digits of a fingerprint the table shows.
const DIGITS_MAX: usize = 12;
/// How many pids the table shows per runtime.
const PIDS_MAX: usize = 4;

/// Lists all runtimes, including those of services that are no longer configured.
pub(super) fn list(console: Console, context: &RuntimeContext, json: bool) -> Outcome {
    let inventory = context
        .cache
        .inventory(&context.state, context.reported_runtimes());
    let inventory = inventory.map_err(|error| context.unreadable(&error))?;
    if json {
        let runtimes: Vec<_> = inventory.iter().map(as_json).collect();
        console.json(&json!({ "schema": SCHEMA, "runtimes": runtimes }))?;
    } else if inventory.is_empty() {
        console.line(&format!(
            "there is no runtime in {}",
            context.state.display()
        ))?;
    } else {
        console.print(&as_text(console, &inventory, sys::clock::sample().wall))?;
    }
    Ok(Exit::Done)
}

/// The short name of the runtime at `path`: the first digits of its fingerprint.
pub(super) fn short_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') {
        return "(altered)".into();
    }
    name.chars().take(DIGITS_MAX).collect()
}

fn as_text(console: Console, inventory: &[InventoryItem], now: SystemTime) -> Text {
    let title = ["RUNTIME", "FILES", "SIZE", "MADE", "PIDS", "SERVICES"].map(str::to_owned);
    let rows = inventory.iter().map(|item| row(item, now));
    let all: Vec<_> = std::iter::once(title).chain(rows).collect();
    let mut text = console.text();
    for (index, cells) in columns(&all).iter().enumerate() {
        text.row(cells, |_| (index == 0).then_some(Style::Dim));
    }
    text
}

fn row(item: &InventoryItem, now: SystemTime) -> [String; 6] {
    let (files, bytes) = item.size.map_or_else(
        || ("?".to_owned(), "?".to_owned()),
        |(files, bytes)| (files.to_string(), size(bytes)),
    );
    let made = item.made_at.map_or_else(
        || "?".to_owned(),
        |at| format!("{} ago", age(&rfc3339(at), now)),
    );
    let uses: Vec<_> = item.uses.iter().map(use_as_text).collect();
    let services = match (uses.is_empty(), &item.fingerprint) {
        (false, _) => uses.join("; "),
        (true, Some(_)) => "none".into(),
        (true, None) => "none: it was altered and set aside".into(),
    };
    [
        short_name(&item.place),
        files,
        bytes,
        made,
        pids(item),
        services,
    ]
}

fn pids(item: &InventoryItem) -> String {
    let mut shown: Vec<_> = item
        .pids
        .iter()
        .take(PIDS_MAX)
        .map(i32::to_string)
        .collect();
    if item.pids.len() > PIDS_MAX {
        shown.push(format!("+{}", item.pids.len() - PIDS_MAX));
    }
    if shown.is_empty() {
        return "-".into();
    }
    shown.join(" ")
}

fn use_as_text(one: &ServiceUse) -> String {
    let refused = one.refused.as_ref().map(|why| format!("refused: {why}"));
    let labels = [
        one.running.then(|| "running".to_owned()),
        one.newest.then(|| "newest".to_owned()),
        one.good.then(|| "good".to_owned()),
        one.imported.then(|| "imported".to_owned()),
        refused,
    ];
    let labels: Vec<_> = labels.into_iter().flatten().collect();
    if labels.is_empty() {
        return one.service.clone();
    }
    format!("{} ({})", one.service, labels.join(", "))
}

fn as_json(item: &InventoryItem) -> Value {
    let services: Vec<_> = item.uses.iter().map(use_as_json).collect();
    json!({
        "fingerprint": item.fingerprint,
        "path": item.place,
        "files": item.size.map(|(files, _)| files),
        "bytes": item.size.map(|(_, bytes)| bytes),
        "made_at": item.made_at.map(rfc3339),
        "services": services,
        "pids": item.pids,
    })
}

fn use_as_json(one: &ServiceUse) -> Value {
    json!({
        "name": one.service,
        "running": one.running,
        "newest": one.newest,
        "good": one.good,
        "imported": one.imported,
        "refused": one.refused,
    })
}

#[cfg(test)]
mod tests {
    use super::{Console, InventoryItem, ServiceUse, as_text};
    use crate::act::runtime::listing::Fingerprint;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_table_shows_services_sizes_and_pids() {
        let name = "3f2a9c01b7de3f2a9c01b7de3f2a9c01b7de0001";
        let one = ServiceUse {
            service: "web".into(),
            running: true,
            newest: true,
            good: true,
            imported: false,
            refused: None,
        };
        let other = ServiceUse {
            service: "db".into(),
            running: false,
            newest: false,
            good: false,
            imported: false,
            refused: Some("rolled back by hand".into()),
        };
        let whole = InventoryItem {
            place: format!("/s/runtime/{name}").into(),
            fingerprint: Fingerprint::parse(name),
            size: Some((120, 340 << 20)),
            made_at: Some(SystemTime::UNIX_EPOCH),
            uses: vec![one, other],
            pids: vec![4711, 4712],
        };
        let altered = InventoryItem {
            place: "/s/runtime/.altered-1-0".into(),
            fingerprint: None,
            size: None,
            made_at: None,
            uses: Vec::new(),
            pids: Vec::new(),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        assert_eq!(
            as_text(Console::plain(), &[whole, altered], now).as_str(),
            "RUNTIME       FILES  SIZE     MADE    PIDS       SERVICES\n\
             3f2a9c01b7de  120    340 MiB  1m ago  4711 4712  web (running, newest, good); db (refused: rolled back by hand)\n\
             (altered)     ?      ?        ?       -          none: it was altered and set aside\n"
        );
    }
}
