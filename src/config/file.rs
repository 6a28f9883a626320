//! The file as written: sections, names, and reading one key at a time into a collector.
//!
//! Nothing is decided here about what values mean. Invariant: reading never stops; whatever is wrong becomes a finding and
//! the caller goes on.

use super::finding::{Finding, Findings, Severity};
use super::keys::{self, Kind};
use super::tree::{Entry, Node, Place, Table, Value};
use super::units::{self, Want};
use super::{quantities, tree};
use std::collections::{HashMap, HashSet};

/// Most of one kind. A listener is a socket on every shard; a pool costs a connection, and its work is rendered whether
/// it is mined or not. All else is data: racks, halls and models of the largest site.
fn most(section: &str) -> usize {
    match section {
        "listen" | "pool" => 64,
        _ => 1024,
    }
}

/// A file, cut into its sections.
#[derive(Debug)]
pub(super) struct Document {
    /// The file itself.
    pub(super) place: Place,
    /// `[[listen]]`, each with its name.
    pub(super) listen: Vec<Named>,
    /// `[[pool]]`, each with its name.
    pub(super) pool: Vec<Named>,
    /// The same of a site's: `[[feeder]]`, `[[group]]` and so on.
    parts: Vec<(&'static str, Vec<Named>)>,
    /// All other sections.
    pub(super) rest: Table,
}

/// One of several.
#[derive(Debug)]
pub(super) struct Named {
    /// As configured, or made from the host or number.
    pub(super) name: String,
    /// Its keys.
    pub(super) table: Table,
    /// Where it begins.
    pub(super) place: Place,
}

impl Document {
    /// Cuts a parsed file; one that has no listener gets the default one.
    pub(super) fn new(place: Place, mut root: Table, findings: &mut Findings) -> Self {
        let mut listen = entries(root.remove("listen"), "listen", findings);
        if listen.is_empty() {
            listen.push((Table::default(), place.clone()));
        }
        let pool = entries(root.remove("pool"), "pool", findings);
        let parts = keys::NAMED[2..].iter().map(|section| {
            let tables = entries(root.remove(section), section, findings);
            let invent = |at: usize, _: &Table| format!("{section}-{}", at + 1);
            (*section, named(section, tables, invent))
        });
        let parts = parts.collect();
        Self {
            place,
            listen: named("listen", listen, |at, _| match at {
                0 => "main".to_owned(),
                _ => format!("listen-{}", at + 1),
            }),
            pool: named("pool", pool, |at, table| {
                let url = table.get("url").map(|url| units::pool_url(&url.value));
                match url {
                    Some(Ok(url)) => url.host,
                    _ => format!("pool-{}", at + 1),
                }
            }),
            parts,
            rest: root,
        }
    }

    /// All of a section that there can be several of; none for any other.
    pub(super) fn all(&self, section: &str) -> &[Named] {
        match section {
            "listen" => &self.listen,
            "pool" => &self.pool,
            _ => {
                let part = self.parts.iter().find(|(name, _)| *name == section);
                part.map_or(&[], |(_, all)| all)
            }
        }
    }

    /// One of them, to be changed.
    pub(super) fn one_mut(&mut self, section: &str, at: usize) -> Option<&mut Named> {
        match section {
            "listen" => self.listen.get_mut(at),
            "pool" => self.pool.get_mut(at),
            _ => {
                let part = self.parts.iter_mut().find(|(name, _)| *name == section);
                part?.1.get_mut(at)
            }
        }
    }

    /// Every section that there can be several of.
    fn every(&self) -> impl Iterator<Item = (&'static str, &[Named])> {
        keys::NAMED.into_iter().map(|name| (name, self.all(name)))
    }

    /// Reports the first that is too many.
    pub(super) fn check_counts(&self, findings: &mut Findings) {
        for (section, all) in self.every() {
            let most = most(section);
            if let Some(over) = all.get(most) {
                let message = format!("at most {most} are allowed");
                findings.push(Finding::said(Severity::Error, section, message).at(&over.place));
            }
        }
    }

    /// Reports names that cannot be told apart, also not in a variable's name.
    pub(super) fn check_names(&self, findings: &mut Findings) {
        for (section, all) in self.every() {
            let mut firsts: HashMap<String, &Named> = HashMap::new();
            for one in all {
                let Some(first) = firsts.get(&variable(&one.name)) else {
                    firsts.insert(variable(&one.name), one);
                    continue;
                };
                let place = one.table.get("name").map_or(&one.place, |n| &n.place);
                let message = match first.place.line {
                    0 => format!("there already is a {section} of this name"),
                    line => format!("the {section} of line {line} already has this name"),
                };
                let key = format!("{section}.{}.name", one.name);
                findings.push(Finding::said(Severity::Error, &key, message).at(place));
            }
        }
    }

    /// Reports every key that is not one, with the one that was probably meant.
    pub(super) fn check_keys(&self, findings: &mut Findings) {
        for (section, all) in self.every() {
            for one in all {
                let path = format!("{section}.{}", one.name);
                check_table(section, &path, &one.table, findings);
            }
        }
        check_table("", "", &self.rest, findings);
    }

    /// A section that is there once; empty if it is not written.
    pub(super) fn section(&self, schema: &'static str) -> Section<'_> {
        Section::new(
            schema,
            schema.to_owned(),
            &self.place,
            table_of(self.rest.get(schema)),
        )
    }
}

/// A name as it stands in an environment variable.
pub(super) fn variable(name: &str) -> String {
    let one = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(one).collect()
}

fn table_of(node: Option<&Node>) -> Option<(&Table, &Place)> {
    match node {
        Some(Node {
            value: Value::Table(table),
            place,
        }) => Some((table, place)),
        _ => None,
    }
}

/// The tables of `[[section]]`.
fn entries(node: Option<Node>, section: &str, findings: &mut Findings) -> Vec<(Table, Place)> {
    let mut tables = Vec::new();
    let Some(node) = node else { return tables };
    let nodes = match node.value {
        Value::List(nodes) => nodes,
        _ => vec![Node {
            value: Value::Flag(false),
            place: node.place,
        }],
    };
    for node in nodes {
        match node.value {
            Value::Table(table) => tables.push((table, node.place)),
            _ => findings.push(
                Finding::said(Severity::Error, section, "there can be several of these")
                    .hint(format!("write [[{section}]]"))
                    .at(&node.place),
            ),
        }
    }
    // One more than is allowed, so that its place can be shown.
    tables.truncate(most(section) + 1);
    tables
}

/// Gives a name to each; those that are made up are made unique.
fn named(
    section: &str,
    tables: Vec<(Table, Place)>,
    invent: impl Fn(usize, &Table) -> String,
) -> Vec<Named> {
    let given = |table: &Table| name(section, &table.get("name")?.value).ok();
    let mut taken: HashSet<String> = tables
        .iter()
        .filter_map(|(table, _)| given(table))
        .map(|name| variable(&name))
        .collect();
    let mut name = |at: usize, table: &Table| {
        given(table).unwrap_or_else(|| {
            let base = invent(at, table);
            let numbered = (2..).map(|n| format!("{base}-{n}"));
            std::iter::once(base.clone())
                .chain(numbered)
                .find(|name| taken.insert(variable(name)))
                .expect("the numbers do not end")
        })
    };
    tables
        .into_iter()
        .enumerate()
        .map(|(at, (table, place))| Named {
            name: name(at, &table),
            table,
            place,
        })
        .collect()
}

/// A name as each section wants it.
fn name(section: &str, value: &tree::Value) -> Result<String, Want> {
    match section {
        "listen" | "pool" => units::name(value),
        "model" => quantities::model_name(value),
        _ => quantities::name(value),
    }
}

fn check_table(schema: &str, path: &str, table: &Table, findings: &mut Findings) {
    for Entry { key, place, node } in &table.0 {
        let join = |prefix: &str| match prefix {
            "" => key.clone(),
            _ => format!("{prefix}.{key}"),
        };
        let (full, shown) = (join(schema), join(path));
        if keys::find(&full).is_some() {
            continue;
        }
        let known = keys::under(schema);
        if !known.contains(&key.as_str()) {
            findings.push(unknown(schema, &shown, key, &known).at(place));
            continue;
        }
        match &node.value {
            Value::Table(inside) => check_table(&full, &shown, inside, findings),
            other => {
                let expected = "a table".to_owned();
                findings.push(
                    Finding::wrong(&shown, shown_value(other), expected, None).at(&node.place),
                );
            }
        }
    }
}

fn unknown(schema: &str, shown: &str, key: &str, known: &[&'static str]) -> Finding {
    let finding = Finding::said(Severity::Error, shown, "unknown key");
    if let Some(near) = keys::nearest(key, known.iter().copied()) {
        return finding.hint(format!("did you mean `{near}`?"));
    }
    let elsewhere = keys::KEYS.iter().find_map(|k| {
        let (section, last) = k.path.rsplit_once('.')?;
        (last == key && section != schema).then_some(section)
    });
    match elsewhere {
        Some(section) if keys::NAMED.contains(&section) => {
            finding.hint(format!("`{key}` belongs under [[{section}]]"))
        }
        Some(section) => finding.hint(format!("`{key}` belongs under [{section}]")),
        None if schema.is_empty() => finding.hint(format!("sections are {}", known.join(", "))),
        None => finding.hint(format!("known are {}", known.join(", "))),
    }
}

/// A value as it is shown in a finding: short, on one line.
fn shown_value(value: &Value) -> String {
    match value {
        Value::Text(text) if text.chars().count() > 60 => {
            format!("{:?}..", text.chars().take(60).collect::<String>())
        }
        Value::Text(text) => format!("{text:?}"),
        Value::Whole(whole) => whole.to_string(),
        Value::Float(float) => float.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Time(text) => text.clone(),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// One section while it is read.
#[derive(Debug)]
pub(super) struct Section<'t> {
    schema: &'static str,
    path: String,
    place: &'t Place,
    table: Option<&'t Table>,
}

impl<'t> Section<'t> {
    fn new(
        schema: &'static str,
        path: String,
        file: &'t Place,
        table: Option<(&'t Table, &'t Place)>,
    ) -> Self {
        Self {
            schema,
            path,
            place: table.map_or(file, |(_, place)| place),
            table: table.map(|(table, _)| table),
        }
    }

    /// One of several.
    pub(super) fn of(schema: &'static str, named: &'t Named) -> Self {
        let path = format!("{schema}.{}", named.name);
        Self::new(
            schema,
            path,
            &named.place,
            Some((&named.table, &named.place)),
        )
    }

    /// A table within; its schema path is given whole.
    pub(super) fn inner(&self, schema: &'static str) -> Self {
        let key = schema.rsplit('.').next().unwrap_or(schema);
        let table = table_of(self.table.and_then(|t| t.get(key)));
        Self::new(schema, format!("{}.{key}", self.path), self.place, table)
    }

    /// The value as written, `None` if it is not.
    pub(super) fn given(&self, key: &str) -> Option<&'t Node> {
        self.table?.get(key)
    }

    /// Whether the section is written at all.
    pub(super) fn is_given(&self) -> bool {
        self.table.is_some()
    }

    /// Where a key is written, or else its section.
    pub(super) fn place(&self, key: &str) -> &'t Place {
        self.given(key).map_or(self.place, |node| &node.place)
    }

    /// The full name of a key.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Reads a key, or its default; `None` if it is wrong (a finding was made) or has neither.
    pub(super) fn take<T>(
        &self,
        key: &str,
        findings: &mut Findings,
        read: impl FnOnce(&Value) -> Result<T, Want>,
    ) -> Option<T> {
        let known = keys::find(&format!("{}.{key}", self.schema));
        debug_assert!(known.is_some(), "{}.{key} is not in the table", self.schema);
        let known = known?;
        let Some(node) = self.given(key) else {
            let value = super::tree::parse_value(known.default, self.place)?;
            return read(&value).ok();
        };
        match read(&node.value) {
            Ok(value) => Some(value),
            Err(want) if want.alone => {
                let wrong = Finding::said(Severity::Error, &self.path(key), want.expected);
                findings.push(wrong.at(&node.place));
                None
            }
            Err(want) => {
                let found = match (known.kind, &node.value) {
                    (Kind::Secret, Value::Table(_)) => "a table".to_owned(),
                    (Kind::Secret, _) => "***".to_owned(),
                    // Somebody's password, where it does not belong.
                    (_, Value::Text(text)) if text.contains('@') && key == "url" => {
                        format!("\"***@{}\"", text.rsplit('@').next().unwrap_or_default())
                    }
                    (_, value) => shown_value(value),
                };
                let wrong = Finding::wrong(&self.path(key), found, want.expected, want.hint);
                findings.push(wrong.at(&node.place));
                None
            }
        }
    }

    /// Says that a key that must be there is not.
    pub(super) fn missing(&self, key: &str, expected: &str, findings: &mut Findings) {
        if self.given(key).is_none() {
            let message = format!("missing; want {expected}");
            findings.push(Finding::said(Severity::Error, &self.path(key), message).at(self.place));
        }
    }

    /// Says that a name names nothing, and which was probably meant.
    pub(super) fn unknown<'n>(
        &self,
        key: &str,
        message: String,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
        findings: &mut Findings,
    ) {
        let finding = Finding::said(Severity::Error, &self.path(key), message);
        let finding = match keys::nearest(name, known.clone()) {
            Some(near) => finding.hint(format!("did you mean {near:?}?")),
            None => {
                let known: Vec<_> = known.take(20).collect();
                match known.is_empty() {
                    true => finding,
                    false => finding.hint(format!("known are {}", known.join(", "))),
                }
            }
        };
        findings.push(finding.at(self.place(key)));
    }

    /// Says something about a key.
    pub(super) fn say(
        &self,
        severity: Severity,
        key: &str,
        message: impl Into<String>,
        findings: &mut Findings,
    ) {
        let finding = Finding::said(severity, &self.path(key), message);
        findings.push(finding.at(self.place(key)));
    }
}
