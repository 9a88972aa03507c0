//! What frames truly are.

use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{Array, OneOf};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What a frame truly is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostedLabel {
    pub(crate) camera: Arc<str>,
    pub(crate) seq: u64,
    /// normal, anomalous, anomalous:CLASS, or unlabelled, which takes back what was said before.
    #[schema(pattern = r"^(normal|anomalous|anomalous:.{1,50}|unlabelled)$")]
    pub(crate) truth: String,
}

/// One label, or a list of them.
pub(crate) struct PostedLabels(pub(crate) Vec<PostedLabel>);

/// Labels that were noted.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct NotedLabels {
    /// How many they are.
    pub(crate) labels: usize,
    /// Sentences: that they are taken in later, or which of them count for nothing.
    pub(crate) notes: Vec<String>,
}

// By hand, so that a mistake in a list is told with its place.
impl<'de> Deserialize<'de> for PostedLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany).map(Self)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<PostedLabel>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a label or a list of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        PostedLabel::deserialize(MapAccessDeserializer::new(map)).map(|label| vec![label])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

impl PartialSchema for PostedLabels {
    fn schema() -> RefOr<Schema> {
        let label = || Ref::from_schema_name(PostedLabel::name());
        let either = OneOf::builder().item(label()).item(Array::new(label()));
        either.description(Some("One label, or a list of them.")).into()
    }
}

impl ToSchema for PostedLabels {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((PostedLabel::name().into_owned(), PostedLabel::schema()));
    }
}
