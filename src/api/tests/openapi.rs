//! docs/openapi.json agrees with the route table and the kinds of errors.

use crate::api::backend::ApiErrorKind;
use crate::api::routes::ROUTES;
use serde_json::Value;
use std::collections::BTreeSet;

fn reference() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json"))
        .expect("docs/openapi.json is JSON")
}

#[test]
fn it_lists_exactly_the_routes_with_their_access() {
    let reference = reference();
    let mut documented = BTreeSet::new();
    for (path, methods) in reference["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let access = operation["x-access"].as_str().unwrap_or("missing");
            documented.insert((method.to_uppercase(), path.clone(), access.to_owned()));
        }
    }
    let in_code = ROUTES.iter().map(|route| {
        (
            route.method.name().to_owned(),
            route.path.to_owned(),
            route.access.name().to_owned(),
        )
    });
    assert_eq!(documented, in_code.collect());
}

#[test]
fn it_lists_exactly_the_kinds_of_errors() {
    let reference = reference();
    let kinds = &reference["components"]["schemas"]["Failure"]["properties"]["error"]["properties"]
        ["kind"]["enum"];
    let documented: BTreeSet<_> = kinds
        .as_array()
        .expect("an enum")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        documented,
        ApiErrorKind::ALL
            .into_iter()
            .map(ApiErrorKind::name)
            .collect()
    );
}

#[test]
fn every_reference_has_a_target() {
    let reference = reference();
    let mut rest = vec![&reference];
    while let Some(value) = rest.pop() {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            let pointer = target.strip_prefix('#').expect("a local reference");
            assert!(
                reference.pointer(pointer).is_some(),
                "{target} does not exist"
            );
        }
        rest.extend(
            value
                .as_object()
                .into_iter()
                .flat_map(|object| object.values()),
        );
        rest.extend(value.as_array().into_iter().flatten());
    }
}
