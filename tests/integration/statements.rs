//! Every SQL statement in the code, prepared by the database that it is for.

use std::{collections::HashMap, fs, path::Path};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use sqlx::{AssertSqlSafe, Connection, Database, Executor, PgConnection, SqlSafeStr, SqliteConnection};

use crate::support::backends::{Backends, Stores};

const SOURCE: &str = "src/store/users";
const VERBS: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];

/// Macros of string literals: the parameters and the text of each rule.
type Macros = HashMap<String, Vec<(Vec<String>, TokenStream)>>;

/// What the compiler sees in the files of a folder.
fn tokens(folder: &Path) -> Vec<TokenStream> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap().parse().unwrap()).collect()
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    if let Some(TokenTree::Ident(ident)) = token { Some(ident.to_string()) } else { None }
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn group(token: Option<&TokenTree>) -> Option<&Group> {
    if let Some(TokenTree::Group(group)) = token { Some(group) } else { None }
}

/// Keeps the macros that are defined among these tokens.
fn define(stream: TokenStream, macros: &mut Macros) {
    let tokens: Vec<_> = stream.into_iter().collect();
    for at in 0..tokens.len() {
        if ident(tokens.get(at)).as_deref() != Some("macro_rules") {
            continue;
        }
        let (name, body) = (ident(tokens.get(at + 2)).unwrap(), group(tokens.get(at + 3)).unwrap());
        let groups: Vec<_> = body.stream().into_iter().filter(|token| group(Some(token)).is_some()).collect();
        let rules = groups.chunks(2).map(|rule| {
            let [pattern, text] = [0, 1].map(|part| group(rule.get(part)).unwrap().stream());
            let pattern: Vec<_> = pattern.into_iter().collect();
            let parameters = (1..pattern.len()).filter(|at| is_punct(pattern.get(at - 1), '$'));
            (parameters.map(|at| ident(pattern.get(at)).unwrap()).collect(), text)
        });
        macros.insert(name, rules.collect());
    }
}

/// The parts of a list.
fn parts(stream: TokenStream) -> Vec<Vec<TokenTree>> {
    let tokens: Vec<_> = stream.into_iter().collect();
    let parts = tokens.split(|token| is_punct(Some(token), ','));
    parts.map(<[_]>::to_vec).filter(|part| !part.is_empty()).collect()
}

/// The text of a literal, or of a macro that makes one; nothing for any other expression.
fn text(expression: &[TokenTree], macros: &Macros, arguments: &HashMap<String, String>) -> Option<String> {
    match expression {
        [TokenTree::Literal(literal)] => {
            let text = literal.to_string();
            // As the compiler reads it: a backslash at the end of a line takes the indentation of the next one along.
            let text = text.strip_prefix('"')?.strip_suffix('"')?.replace("\\\"", "\"");
            let mut lines = text.split("\\\n");
            let first = lines.next()?.to_owned();
            Some(lines.fold(first, |text, line| text + line.trim_start()))
        }
        [TokenTree::Punct(dollar), TokenTree::Ident(name)] if dollar.as_char() == '$' => {
            arguments.get(&name.to_string()).cloned()
        }
        [TokenTree::Ident(name), TokenTree::Punct(mark), TokenTree::Group(group)] if mark.as_char() == '!' => {
            let values = parts(group.stream()).into_iter().map(|part| text(&part, macros, arguments));
            let values = values.collect::<Option<Vec<_>>>()?;
            if name == "concat" {
                return Some(values.concat());
            }
            let (parameters, text_of_rule) =
                macros.get(&name.to_string())?.iter().find(|(parameters, _)| parameters.len() == values.len())?;
            let arguments = parameters.iter().cloned().zip(values).collect();
            text(&text_of_rule.clone().into_iter().collect::<Vec<_>>(), macros, &arguments)
        }
        _ => None,
    }
}

/// The statements among these tokens, not those within other texts.
fn collect(stream: TokenStream, macros: &Macros, found: &mut Vec<String>) {
    let tokens: Vec<_> = stream.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        let is_macro = is_punct(rest.get(1), '!') && group(rest.get(2)).is_some();
        let taken = if is_punct(rest.first(), '#') || ident(rest.first()).as_deref() == Some("macro_rules") {
            // An attribute (documentation is one), or a part of a statement.
            rest.iter().position(|token| group(Some(token)).is_some()).map_or(1, |place| place + 1)
        } else if let Some(text) = is_macro.then(|| text(&rest[..3], macros, &HashMap::new())).flatten() {
            found.push(text);
            3
        } else {
            found.extend(text(&rest[..1], macros, &HashMap::new()));
            if let Some(group) = group(rest.first()).filter(|group| group.delimiter() != Delimiter::None) {
                collect(group.stream(), macros, found);
            }
            1
        };
        at += taken;
    }
}

/// The statements of a store, of which there are at least as many as there are calls that take one.
fn statements(store: &str) -> Vec<String> {
    let (shared, own) = (Path::new(SOURCE), Path::new(SOURCE).join(store));
    let mut macros = Macros::new();
    tokens(shared).into_iter().chain(tokens(&own)).for_each(|stream| define(stream, &mut macros));
    let mut found = Vec::new();
    tokens(&own).into_iter().for_each(|stream| collect(stream, &macros, &mut found));
    found.retain(|text| VERBS.iter().any(|verb| text.trim_start().starts_with(&format!("{verb} "))));
    let source: Vec<_> =
        fs::read_dir(own).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    let calls: usize = source.iter().map(|text| text.matches("sqlx::query").count()).sum();
    assert!(calls > 20 && found.len() >= calls, "{} statements for {calls} calls", found.len());
    found
}

/// Prepares them all; returns those that the database refuses, and why.
async fn refused<C, D>(connection: &mut C, store: &str) -> Vec<String>
where
    D: Database,
    for<'c> &'c mut C: Executor<'c, Database = D>,
{
    let mut refused = Vec::new();
    for sql in statements(store) {
        if let Err(error) = (&mut *connection).prepare(AssertSqlSafe(sql.clone()).into_sql_str()).await {
            refused.push(format!("{error}: {sql}"));
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_accepts_every_statement() {
    let stores = Stores::create(Backends::POSTGRESQL_AND_IN_PROCESS).await;
    let mut connection = PgConnection::connect(&stores.database_url()).await.unwrap();
    let refused = refused(&mut connection, "postgres").await;
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_accepts_every_statement() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let mut connection = SqliteConnection::connect(&stores.database_url()).await.unwrap();
    let refused = refused(&mut connection, "sqlite").await;
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
