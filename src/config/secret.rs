//! Secrets: written out, or `{ env = "NAME" }`, or `{ file = "PATH" }`.
//!
//! Invariant: what is wrong with a secret is said without the secret.

use super::build::World;
use super::tree::{Table, Value};
use super::units::{Want, want, wrong};
use crate::stratum::v2::noise::Authority;
use std::path::Path;

/// Longest secret, in bytes; pools truncate far below, and a wrong path must not pull in a disk.
const MAX_BYTES: usize = 1024;

/// Reads one. Errors name what is missing, never a value.
pub(super) fn read(value: &Value, world: &World<'_>) -> Result<String, Want> {
    let secret = match value {
        Value::Text(text) => text.clone(),
        Value::Table(table) => from_outside(table, world)?,
        _ => return Err(shape()),
    };
    match (1..=MAX_BYTES).contains(&secret.len()) && !secret.chars().any(char::is_control) {
        true => Ok(secret),
        false => Err(want("1 to 1024 bytes without control characters")),
    }
}

/// An authority's secret key: the text that `sluice keys` writes, from a file, a variable or in place.
pub(super) fn authority(value: &Value, world: &World<'_>) -> Result<Authority, Want> {
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Table(table) => from_outside(table, world)?,
        _ => return Err(shape()),
    };
    Authority::from_file_text(&text).map_err(|why| {
        // A key has neither.
        let hint = match value {
            Value::Text(path) if path.contains(['.', '/']) => {
                format!("a file is written {{ file = \"{path}\" }}")
            }
            _ => why.to_string(),
        };
        want("the secret authority key that `sluice keys` makes").hint(hint)
    })
}

fn shape() -> Want {
    want("a string, { env = \"NAME\" } or { file = \"PATH\" }")
}

fn from_outside(table: &Table, world: &World<'_>) -> Result<String, Want> {
    let [entry] = table.0.as_slice() else {
        return Err(shape());
    };
    let Value::Text(from) = &entry.node.value else {
        return Err(shape());
    };
    match entry.key.as_str() {
        "env" => (world.env)(from).ok_or_else(|| wrong(format!("the variable {from} is not set"))),
        "file" => from_file(&world.base.join(from))
            .map_err(|why| wrong(format!("the file {from} cannot be read: {why}"))),
        _ => Err(shape()),
    }
}

/// The first line of a file; errors are for a person.
fn from_file(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 3)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
