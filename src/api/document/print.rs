//! The document in JSON and in YAML.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// As JSON, as it is written to a file.
pub fn print(document: &Value) -> String {
    serde_json::to_string_pretty(&InOrder(document)).expect("JSON can be written") + "\n"
}

/// As YAML. Text that a reader of YAML 1.1 would take for something else is quoted: times, `on`, `12:30`, numbers.
pub fn print_yaml(document: &Value) -> String {
    serde_saphyr::to_string(&InOrder(document)).expect("JSON is YAML")
}

/// Members in the order of their names, but pictures first: most generators give an operation the type of the first
/// content that it answers with.
struct InOrder<'a>(&'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let (first, others): (Vec<_>, Vec<_>) =
                    members.iter().partition(|(name, _)| name.starts_with("image/"));
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, member) in first.into_iter().chain(others) {
                    map.serialize_entry(name, &InOrder(member))?;
                }
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(InOrder)),
            value => value.serialize(serializer),
        }
    }
}
