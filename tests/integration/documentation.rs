//! The tables of docs/operations.md and the comments of .env.example, compared with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, CommandFactory};
use phonepass::{auth::event::Event, config::Cli, model::limit::LimitName};
use regex::Regex;

fn repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A section of docs/operations.md.
fn section(name: &str) -> String {
    let text = repository("docs/operations.md");
    let (_, section) = text.split_once(&format!("\n## {name}\n")).unwrap();
    section.split_once("\n## ").unwrap().0.to_owned()
}

#[test]
fn the_limits_in_the_documentation_are_those_of_the_code() {
    let section = section("Limits");
    // Not every limit has a key of its own.
    let row = Regex::new(r"(?m)^\| `(\w+)` \| [^|]+ \| (?:`limit:(\w+):)?").unwrap();
    let documented = row.captures_iter(&section).map(|row| {
        let key = row.get(2).map_or(&row[1], |key| key.as_str());
        [row[1].to_owned(), key.to_owned()]
    });
    let documented: Vec<_> = documented.collect();
    let in_code = LimitName::ALL.iter().map(|name| [name.as_str(); 2].map(str::to_owned));
    assert_eq!(documented, in_code.collect::<Vec<_>>(), "docs/operations.md (left), src/model/limit.rs (right)");
}

#[test]
fn the_security_events_in_the_documentation_are_those_of_the_code() {
    let section = section("Security events");
    let row = Regex::new(r"(?m)^\| `(\w+)` \| ").unwrap();
    let mut documented: Vec<_> = row.captures_iter(&section).map(|row| row[1].to_owned()).collect();
    let mut in_code: Vec<_> = Event::ALL.iter().map(|event| event.as_str().to_owned()).collect();
    documented.retain(|name| name != "event");
    documented.sort();
    in_code.sort();
    assert_eq!(documented, in_code, "docs/operations.md (left), src/auth/event.rs (right)");
}

/// The rows of a table of settings in a README: variable and default.
fn table_of_settings(path: &str) -> Vec<(String, String)> {
    let row = Regex::new(r"(?m)^\| `([A-Z][A-Z_0-9]+)` \| ([^|]+) \| ").unwrap();
    let text = repository(path);
    row.captures_iter(&text).map(|row| (row[1].to_owned(), row[2].to_owned())).collect()
}

#[test]
fn the_tables_of_settings_in_both_languages_are_those_of_the_code() {
    let command = Cli::command();
    for path in ["README.md", "README.zh-CN.md"] {
        let documented = table_of_settings(path);
        let mut names: Vec<_> = documented.iter().map(|(name, _)| name.as_str()).collect();
        let settings: Vec<_> = command.get_arguments().filter(|arg| arg.get_env().is_some()).collect();
        let mut in_code: Vec<_> = settings.iter().map(|arg| arg.get_env().unwrap().to_str().unwrap()).collect();
        names.sort_unstable();
        in_code.sort_unstable();
        assert_eq!(names, in_code, "{path} (left), src/config.rs (right)");
        for (name, default) in &documented {
            let arg = settings.iter().find(|arg| arg.get_env().unwrap() == name.as_str()).unwrap();
            // A text may be told in words.
            let Some(value) = arg.get_default_values().first().and_then(|value| value.to_str()) else { continue };
            if name != "SMS_TEXT" {
                assert_eq!(default, &format!("`{value}`"), "{path}: {name}");
            }
        }
    }
}

#[test]
fn the_segments_in_the_documentation_can_be_blocked() {
    let section = section("Before you send real messages");
    let values = Regex::new(r"(?m)^MOBILE_BLOCK=([0-9,]+) ").unwrap();
    let blocks: Vec<_> = values.captures_iter(&section).map(|found| found[1].to_owned()).collect();
    let [virtual_operators, machines, both] = blocks.as_slice() else { panic!("{blocks:?}") };
    let parsed = [virtual_operators, machines, both].map(|block| {
        let config = Cli::from_flags(["phonepass".to_owned(), format!("--mobile-block={block}")]).unwrap().config;
        config.mobile_block
    });
    let [virtual_operators, machines, mut both] = parsed;
    let mut joined = [virtual_operators, machines].concat();
    joined.sort();
    both.sort();
    assert_eq!(joined, both);
    for prefix in &both {
        assert!(section.contains(&format!("| {prefix}")) || section.contains(&format!(", {prefix}")), "{prefix}");
    }
}

/// The files below a folder of the repository with this extension.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files
}

/// The modules and functions below a folder, such as `refresh` and `refresh::a_test`.
fn functions(folder: &str) -> BTreeSet<String> {
    let function = Regex::new(r"\bfn (\w+)").unwrap();
    let mut found = BTreeSet::new();
    for file in files(folder, "rs") {
        let below = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap().with_extension("");
        let names: Vec<_> = below.iter().map(|name| name.to_str().unwrap()).filter(|name| *name != "mod").collect();
        let module = names.join("::");
        for name in function.captures_iter(&fs::read_to_string(&file).unwrap()) {
            found.insert(format!("{module}::{}", &name[1]));
        }
        found.insert(module);
    }
    found
}

#[test]
fn every_test_that_the_documentation_names_exists() {
    let mut tests = functions("tests/integration");
    tests.extend(functions("src"));
    for name in functions("tests/attacks") {
        tests.insert(format!("attacks::{name}"));
        tests.insert(name);
    }
    // Tests are sentences. Other paths, such as targets of log lines, are shorter.
    let name = Regex::new(r"`([a-z_]+(?:::\w+)*::[a-z0-9]+(?:_[a-z0-9]+){2,})").unwrap();
    let mut named = 0;
    for file in files("docs", "md") {
        for name in name.captures_iter(&fs::read_to_string(&file).unwrap()) {
            assert!(tests.contains(&name[1]), "{}: no test {}", file.display(), &name[1]);
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
}

/// What .env.example says about each variable, on one line.
fn comments() -> BTreeMap<String, String> {
    let example = repository(".env.example");
    let setting = Regex::new(r"(?m)^((?:# .*\n)+?)# ([A-Z_]+)=").unwrap();
    let comments = setting.captures_iter(&example).map(|found| {
        let lines: Vec<_> = found[1].lines().map(|line| line.trim_start_matches("# ")).collect();
        (found[2].to_owned(), lines.join(" "))
    });
    comments.collect()
}

/// Every setting with what .env.example says about it.
fn settings() -> Vec<(Arg, String, String)> {
    let (command, comments) = (Cli::command(), comments());
    let settings = command.get_arguments().filter_map(|arg| {
        let name = arg.get_env()?.to_str().unwrap().to_owned();
        let comment = comments.get(&name).unwrap_or_else(|| panic!("{name} has no comment")).clone();
        Some((arg.clone(), name, comment))
    });
    settings.collect()
}

#[test]
fn the_bounds_of_a_number_in_the_example_of_an_env_file_are_those_of_the_code() {
    let bounds = Regex::new(r"\b(\d+) to (\d+)\b").unwrap();
    let mut numbers = 0;
    for (arg, name, comment) in settings() {
        let default = arg.get_default_values().first().and_then(|value| value.to_str());
        let stated = bounds.captures(&comment);
        let is_number = default.map_or(stated.is_some(), |default| default.parse::<u64>().is_ok());
        if !is_number {
            assert!(stated.is_none(), "{name}: bounds of what is no number? {comment}");
            continue;
        }
        let stated = stated.unwrap_or_else(|| panic!("{name}: no bounds in {comment}"));
        let [least, most] = [1, 2].map(|group| stated[group].parse::<i64>().unwrap());
        let flag = arg.get_long().unwrap();
        for (value, accepted) in [(least - 1, false), (least, true), (most, true), (most + 1, false)] {
            let loaded = Cli::from_flags(["phonepass".to_owned(), format!("--{flag}={value}")]);
            assert_eq!(loaded.is_ok(), accepted, "{name}={value}, but the example says {comment}");
        }
        numbers += 1;
    }
    assert!(numbers > 10, "{numbers}");
}

#[test]
fn the_names_and_unset_defaults_in_the_example_of_an_env_file_are_those_of_the_code() {
    let unset = Regex::new(r"\[default: ([^\];]+)").unwrap();
    for (arg, name, comment) in settings() {
        for value in arg.get_possible_values() {
            let word = Regex::new(&format!(r"\b{}\b", value.get_name())).unwrap();
            let default = arg.get_default_values().iter().any(|default| default == value.get_name());
            assert!(default || word.is_match(&comment), "{name}: no {} in {comment}", value.get_name());
        }
        let help = arg.get_help().unwrap().to_string();
        let [in_code, in_example] =
            [&help, &comment].map(|text| unset.captures(text).map(|found| found[1].trim().to_owned()));
        assert_eq!(in_code, in_example, "{name}: src/config.rs (left), .env.example (right)");
    }
}
