//! JSON Schemas of the documents, from the types that read them.

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use crate::manifest::decision::DecisionDocument;
use crate::manifest::document::API_VERSION;
use crate::manifest::document::Kind;
use crate::manifest::exception::ExceptionDocument;
use crate::manifest::role::RoleDocument;
use crate::manifest::target::TargetDefaultsDocument;
use crate::manifest::target::TargetDocument;
use crate::manifest::user::UserDocument;
use crate::manifest::welcome::TemplateDocument;

/// The JSON Schema (draft 2020-12) of one kind of document.
pub fn schema(kind: Kind) -> Json {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = match kind {
        Kind::User => generator.into_root_schema_for::<UserDocument>(),
        Kind::Role => generator.into_root_schema_for::<RoleDocument>(),
        Kind::Target => generator.into_root_schema_for::<TargetDocument>(),
        Kind::Exception => generator.into_root_schema_for::<ExceptionDocument>(),
        Kind::Template => generator.into_root_schema_for::<TemplateDocument>(),
        Kind::Decision => generator.into_root_schema_for::<DecisionDocument>(),
        Kind::TargetDefaults => generator.into_root_schema_for::<TargetDefaultsDocument>(),
    };
    let mut schema = Json::from(schema);
    // The types leave these to the reader, which tells of them in better words.
    fixed(&mut schema, "apiVersion", API_VERSION);
    fixed(&mut schema, "kind", kind.as_str());
    schema
}

fn fixed(schema: &mut Json, field: &str, word: &str) {
    if let Some(place) = schema.pointer_mut(&format!("/properties/{field}")) {
        *place = serde_json::json!({ "const": word });
    }
    if let Some(required) = schema.pointer_mut("/required").and_then(Json::as_array_mut) {
        required.push(field.into());
    }
}
