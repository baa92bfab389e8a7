//! Shapes as generators of clients need them: one name for one shape, and parameters that are present or
//! absent, but never null.

use serde_json::{Map, Value, json};

/// Replaces every copy of a named shape by a reference to it.
///
/// The shape of a page, or of one object or many, is generic in the code, and its rows are written out in the
/// document. A generator would make a separate type of each copy.
pub(super) fn name_copies(document: &mut Value) {
    let Some(shapes) = document.pointer("/components/schemas").and_then(Value::as_object).cloned() else {
        return;
    };
    if let Some(own) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        own.values_mut().for_each(|shape| name_copies_within(shape, &shapes));
    }
    if let Some(paths) = document.get_mut("paths") {
        name_copies_within(paths, &shapes);
    }
}

fn name_copies_within(value: &mut Value, shapes: &Map<String, Value>) {
    let parts: Vec<&mut Value> = match value {
        Value::Array(values) => values.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => return,
    };
    for part in parts {
        let is_shape = part.get("properties").is_some();
        match shapes.iter().find(|(_, shape)| is_shape && is_copy(part, shape)) {
            Some((name, _)) => *part = json!({"$ref": format!("#/components/schemas/{name}")}),
            None => name_copies_within(part, shapes),
        }
    }
}

/// True for the same shape; only the descriptions may differ.
fn is_copy(copy: &Value, shape: &Value) -> bool {
    ["type", "properties", "required"].iter().all(|part| copy.get(part) == shape.get(part))
}

/// Removes the defaults of fields: each is its type's empty value. Some generators make a field with a
/// default a field that must be sent.
pub(super) fn leave_out_defaults(document: &mut Value) {
    let shapes = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    let properties =
        shapes.into_iter().flat_map(Map::values_mut).filter_map(|shape| shape.get_mut("properties"));
    for property in properties.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        if let Some(property) = property.as_object_mut() {
            property.remove("default");
        }
    }
}

/// Removes null from the types of parameters and of fields that are not required: a parameter or field
/// without a value is left out. A field of an answer that can be null is required, and keeps null.
pub(super) fn forbid_null_where_it_is_left_out(document: &mut Value) {
    let shapes = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for shape in shapes.into_iter().flat_map(Map::values_mut) {
        let required = shape.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = shape.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
        properties
            .filter(|(name, _)| !required.contains(&name.as_str().into()))
            .for_each(|(_, it)| forbid_null(it));
    }
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    let parameters = operations
        .flat_map(Map::values_mut)
        .filter_map(|operation| operation.get_mut("parameters")?.as_array_mut());
    parameters.flatten().filter_map(|parameter| parameter.get_mut("schema")).for_each(forbid_null);
}

fn forbid_null(schema: &mut Value) {
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            schema["type"] = kind.clone();
        }
    }
    if let Some(choices) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| *choice != json!({"type": "null"}));
        if let [choice] = choices.as_slice() {
            *schema = choice.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn a_shape_has_one_name_everywhere() {
        let document: Value = serde_json::from_slice(&document()).unwrap();
        let shapes = &document["components"]["schemas"];
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        assert_eq!(shapes["Page_TransferReply"]["properties"]["items"]["items"], reference("TransferReply"));
        let choices = shapes["OneOrMany_TransferBody"]["oneOf"].as_array().unwrap();
        assert_eq!(choices[0]["$ref"], reference("TransferBody")["$ref"]);
        assert_eq!(choices[1]["items"]["$ref"], reference("TransferBody")["$ref"]);
        assert!(
            shapes["TransferBody"]["properties"]["amount"].is_object(),
            "the shape itself is written out"
        );
    }

    #[test]
    fn optional_fields_are_not_required_and_have_no_default() {
        let document: Value = serde_json::from_slice(&document()).unwrap();
        let account = &document["components"]["schemas"]["AccountBody"];
        assert_eq!(account["required"], json!(["code"]));
        for property in account["properties"].as_object().unwrap().values() {
            assert_eq!(property.get("default"), None, "{property}");
        }
    }

    #[test]
    fn optional_parameters_and_fields_are_never_null() {
        let document: Value = serde_json::from_slice(&document()).unwrap();
        let mut count = 0;
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                for parameter in operation["parameters"].as_array().unwrap() {
                    count += 1;
                    assert!(!parameter["schema"].to_string().contains("null"), "{parameter}");
                }
            }
        }
        assert!(count > 60, "{count}");
        let shapes = &document["components"]["schemas"];
        assert!(
            !shapes["EventReply"]["properties"].to_string().contains("null"),
            "an absent detail is left out"
        );
        assert!(
            shapes["AccountReply"]["properties"]["name"].to_string().contains("null"),
            "an absent name is null"
        );
        assert!(shapes["AccountReply"]["required"].to_string().contains("name"), "and always present");
    }
}
