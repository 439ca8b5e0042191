//! How is the document said in Chinese? Text by text, as `openapi/zh.json` has them.

use std::sync::LazyLock;

use serde_json::{Map, Value};

const CHINESE: &str = include_str!("../../../openapi/zh.json");

static TEXTS: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(CHINESE).expect("the translations are JSON"));

/// What people read, wherever it stands in the document.
const SPOKEN: [&str; 2] = ["summary", "description"];

/// Makes one line of each paragraph: where the source breaks its lines is nobody's business.
pub fn unwrap_lines(document: &mut Value) {
    each_text(document, &mut |text| {
        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
    });
}

/// Says every text in Chinese. What has no translation stays English; a test sees it.
pub fn translate(document: &mut Value) {
    each_text(document, &mut |text| {
        if let Some(Value::String(chinese)) = TEXTS.get(text.as_str()) {
            text.clone_from(chinese);
        }
    });
}

/// Says the names of the sections in Chinese, where they are listed and where an operation names its own.
pub fn translate_sections(document: &mut Value) {
    let listed = document["tags"].as_array_mut().into_iter().flatten().map(|tag| &mut tag["name"]);
    listed.for_each(translate_name);
    for (_, operation) in super::operations(document) {
        let sections = operation.get_mut("tags").and_then(Value::as_array_mut);
        sections.into_iter().flatten().for_each(translate_name);
    }
}

fn translate_name(name: &mut Value) {
    if let Some(chinese) = name.as_str().and_then(|name| TEXTS.get(name)) {
        *name = chinese.clone();
    }
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if SPOKEN.contains(&name.as_str()) => change(text),
                    _ => each_text(member, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        _ => {}
    }
}
