//! The JSON schema of the file, for editors that complete and check while a person types.

use serde_json::{Map, Value, json};

use crate::shape::{FILE, Key, Need, Shape};

/// The schema (JSON Schema 2020-12), made from the same table that the loader checks with.
#[must_use]
pub fn schema() -> Value {
    let mut schema = of(&FILE);
    if let Some(map) = schema.as_object_mut() {
        map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".into(), json!("Laniakea: one installation"));
    }
    schema
}

fn of(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Path => json!({ "type": "string", "minLength": 1 }),
        Shape::Name => json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Duration => {
            json!({ "type": "string", "pattern": "^[0-9.]+ ?(us|ms|s|sec|m|min|h|d)$", "examples": ["200ms", "5s", "10min"] })
        }
        Shape::Size => {
            json!({ "type": "string", "pattern": "^[0-9.]+ ?([kKmMgGtT][iI]?)?[bB]$", "examples": ["50 MiB"] })
        }
        Shape::Socket => {
            json!({ "type": "string", "pattern": "^(\\[[0-9a-fA-F:.%]+\\]|[0-9.]+):[0-9]+$", "examples": ["127.0.0.1:143"] })
        }
        Shape::Network => json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]+$", "examples": ["10.0.0.0/8"] }),
        Shape::LdapUrl => json!({ "type": "string", "pattern": "^ldaps?://[^/?#@ ]+/?$" }),
        Shape::List(one) => json!({ "type": "array", "items": of(one) }),
        Shape::Table(keys) => table(keys),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::WordOrTable(words, keys) => json!({ "oneOf": [{ "enum": words }, table(keys)] }),
    }
}

fn table(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> =
        keys.iter().filter(|key| matches!(key.need, Need::Required)).map(|key| key.name).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn property(key: &Key) -> Value {
    let mut value = of(&key.shape);
    if let Some(map) = value.as_object_mut() {
        let about = match key.need {
            Need::Default(default) => format!("{} Default: {default}.", key.about),
            Need::Required | Need::Optional => key.about.to_owned(),
        };
        map.insert("description".into(), Value::String(about));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_the_keys_of_a_member() {
        let schema = schema();
        let member = &schema["properties"]["clusters"]["items"]["properties"]["members"]["items"];
        assert_eq!(member["additionalProperties"], false);
        assert!(member["properties"]["handoff"]["description"].as_str().unwrap().contains("hand"));
        assert_eq!(member["required"], json!(["name", "control", "handoff"]));
    }
}
