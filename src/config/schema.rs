//! Generates the JSON Schema of stayd.toml from the list of keys.

use super::keys::{self, Default, Key, Kind, State};
use super::value;
use serde_json::{Map, Value as Json, json};

/// JSON Schema (draft 2020-12) of stayd.toml, for editors.
///
/// It describes the form of each value. Conditions across services (ports, order) are only checked by `config check`.
#[must_use]
pub fn schema() -> Json {
    let mut root = table("");
    root.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    root.insert("title".into(), json!("stayd.toml"));
    Json::Object(root)
}

/// The schema of one table.
fn table(path: &str) -> Map<String, Json> {
    let keys = || keys::children(path).filter(|key| !matches!(key.state, State::NotSupported(_)));
    let properties: Map<_, _> = keys()
        .map(|key| (key.leaf().into(), property(key)))
        .collect();
    let required = keys()
        .filter(|key| key.default == Default::Required)
        .map(Key::leaf);
    let required: Vec<_> = required.collect();
    let mut object = Map::new();
    object.insert("type".into(), json!("object"));
    object.insert("properties".into(), Json::Object(properties));
    object.insert("additionalProperties".into(), json!(false));
    if !required.is_empty() {
        object.insert("required".into(), json!(required));
    }
    object
}

fn property(key: &Key) -> Json {
    let mut object = form(key);
    object.insert("description".into(), json!(key.doc));
    if let Default::Is(text) = key.default
        && let Some(default) = default(key.kind, text)
    {
        object.insert("default".into(), default);
    }
    Json::Object(object)
}

/// A default value as it would be written in the file.
fn default(kind: Kind, text: &str) -> Option<Json> {
    match value::from_text(kind, text).ok()? {
        value::Value::Flag(flag) => Some(json!(flag)),
        value::Value::Texts(texts) => Some(json!(texts)),
        value::Value::Number(number) if !matches!(kind, Kind::Size(_)) => Some(json!(number)),
        value::Value::Text(_)
        | value::Value::Env(_)
        | value::Value::Number(_)
        | value::Value::Duration(_)
        | value::Value::Signal(_)
        | value::Value::Expect(_) => Some(json!(text)),
    }
}

fn form(key: &Key) -> Map<String, Json> {
    let form = match key.kind {
        Kind::Table => return table(key.path),
        Kind::Named => json!({
            "type": "object",
            "patternProperties": { NAME: table(&format!("{}.*", key.path)) },
            "additionalProperties": false,
        }),
        Kind::Name => json!({ "type": "string", "pattern": NAME }),
        Kind::Text | Kind::Path | Kind::Secret | Kind::Url | Kind::Signal | Kind::Expect => {
            json!({ "type": "string", "minLength": 1 })
        }
        Kind::Words => json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Env => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::FlagOrTexts => json!({ "type": ["boolean", "array"], "items": { "type": "string" } }),
        Kind::Port => json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX }),
        Kind::Count(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Kind::Duration(_) => json!({ "type": "string", "pattern": DURATION }),
        Kind::Size(_) => json!({ "type": "string", "pattern": SIZE }),
        Kind::Choice(words) => json!({ "enum": words }),
    };
    match form {
        Json::Object(object) => object,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Map::new()
        }
    }
}

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$";
const DURATION: &str = "^([0-9]+ *[a-z]+ *)+$";
const SIZE: &str = "^[0-9]+ *(B|KiB|MiB|GiB|TiB)$";

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of the schema that describes this key.
    fn find<'s>(schema: &'s Json, path: &str) -> Option<&'s Json> {
        path.split('.').try_fold(schema, |at, part| match part {
            "*" => at.get("patternProperties")?.get(NAME),
            part => at.get("properties")?.get(part),
        })
    }

    #[test]
    fn the_schema_has_exactly_the_supported_keys() {
        let schema = schema();
        for key in keys::KEYS {
            let unsupported = matches!(key.state, State::NotSupported(_));
            assert_eq!(
                find(&schema, key.path).is_none(),
                unsupported,
                "{}",
                key.path
            );
        }
        let watchdog = find(&schema, "service.*.watchdog").expect("watchdog");
        assert_eq!(watchdog["required"], json!(["probe"]));
        assert_eq!(watchdog["properties"]["interval"]["default"], "5s");
        assert_eq!(watchdog["additionalProperties"], false);
    }
}
