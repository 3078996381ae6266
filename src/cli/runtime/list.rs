//! `stayd runtime ls`: what is there, whose it is, and who uses it.

use super::super::exit::{Exit, Outcome};
use super::super::screen::{Paint, Screen};
use super::super::words::{ago, columns};
use super::place::Place;
use crate::act::runtime::inventory::{InventoryItem, ServiceUse};
use crate::act::runtime::size;
use crate::api::view::rfc3339;
use crate::api::wire::SCHEMA;
use crate::sys;
use serde_json::{Value, json};
use std::path::Path;
use std::time::SystemTime;

/// Digits of a fingerprint that a person is shown.
const SHOWN_DIGITS: usize = 12;
/// Processes that a person is shown.
const SHOWN_PIDS: usize = 4;

/// Shows all runtimes, those of other services too.
pub(super) fn list(screen: Screen, place: &Place, json: bool) -> Outcome {
    let stock = place.cache.inventory(&place.state, place.told());
    let stock = stock.map_err(|error| place.unreadable(&error))?;
    if json {
        let runtimes: Vec<_> = stock.iter().map(as_json).collect();
        screen.json(&json!({ "schema": SCHEMA, "runtimes": runtimes }), false)?;
    } else if stock.is_empty() {
        screen.line(&format!("no runtime is kept in {}", place.state.display()))?;
    } else {
        screen.print(&as_text(screen, &stock, sys::clock::sample().wall))?;
    }
    Ok(Exit::Done)
}

/// The name of a copy, as short as a person needs it.
pub(super) fn short(place: &Path) -> String {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') {
        return "(altered)".into();
    }
    name.chars().take(SHOWN_DIGITS).collect()
}

fn as_text(screen: Screen, stock: &[InventoryItem], now: SystemTime) -> String {
    let title = ["RUNTIME", "FILES", "SIZE", "MADE", "PIDS", "SERVICES"].map(str::to_owned);
    let rows = stock.iter().map(|item| row(item, now));
    let all: Vec<_> = std::iter::once(title).chain(rows).collect();
    let mut text = String::new();
    for (index, mut cells) in columns(&all).into_iter().enumerate() {
        if index == 0 {
            cells = cells.map(|cell| screen.paint(Paint::Faint, &cell));
        }
        text.push_str(&format!("{}\n", cells.join("  ").trim_end()));
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
        |at| format!("{} ago", ago(&rfc3339(at), now)),
    );
    let uses: Vec<_> = item.uses.iter().map(use_in_words).collect();
    let services = match (uses.is_empty(), &item.fingerprint) {
        (false, _) => uses.join("; "),
        (true, Some(_)) => "none".into(),
        (true, None) => "none: it was altered, and set aside".into(),
    };
    [short(&item.place), files, bytes, made, pids(item), services]
}

fn pids(item: &InventoryItem) -> String {
    let mut shown: Vec<_> = item
        .pids
        .iter()
        .take(SHOWN_PIDS)
        .map(i32::to_string)
        .collect();
    if item.pids.len() > SHOWN_PIDS {
        shown.push(format!("+{}", item.pids.len() - SHOWN_PIDS));
    }
    if shown.is_empty() {
        return "-".into();
    }
    shown.join(" ")
}

fn use_in_words(one: &ServiceUse) -> String {
    let refused = one.refused.as_ref().map(|why| format!("refused: {why}"));
    let marks = [
        one.running.then(|| "running".to_owned()),
        one.newest.then(|| "newest".to_owned()),
        one.good.then(|| "good".to_owned()),
        one.imported.then(|| "imported".to_owned()),
        refused,
    ];
    let marks: Vec<_> = marks.into_iter().flatten().collect();
    if marks.is_empty() {
        return one.service.clone();
    }
    format!("{} ({})", one.service, marks.join(", "))
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
    use super::{InventoryItem, Screen, ServiceUse, as_text};
    use crate::act::runtime::listing::Fingerprint;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_table_reads_like_this() {
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
            as_text(Screen::plain(), &[whole, altered], now),
            "RUNTIME       FILES  SIZE     MADE    PIDS       SERVICES\n\
             3f2a9c01b7de  120    340 MiB  1m ago  4711 4712  web (running, newest, good); db (refused: rolled back by hand)\n\
             (altered)     ?      ?        ?       -          none: it was altered, and set aside\n"
        );
    }
}
