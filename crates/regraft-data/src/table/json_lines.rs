//! Tables with a JSON object on each line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::columns::{self, Chosen, Unused};
use super::fields::lines;
use super::{RawRow, Table, Text, line_error, row, short};
use crate::error::CatalogueError;
use crate::shown::shown;

/// An object's fields in order, including those whose names repeat.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Whether a line has a path and a label, or no line can be read, so that it is unknown.
pub fn names_labels(bytes: &[u8]) -> bool {
    let mut objects =
        lines(bytes).filter_map(|(_, text)| serde_json::from_slice::<Fields>(text).ok()).peekable();
    objects.peek().is_none()
        || objects.any(|Fields(fields)| {
            let chosen = Chosen::of(fields.iter().map(|(name, _)| name.as_str()));
            chosen.path.is_some() && chosen.label.is_some()
        })
}

/// Reads the rows.
pub fn read(table: &Path, bytes: &[u8]) -> Result<Table, CatalogueError> {
    let mut rows = Vec::new();
    let mut unused: BTreeMap<String, Unused> = BTreeMap::new();
    let mut all = Chosen::default();
    for (line, text) in lines(bytes) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let Fields(fields) = serde_json::from_slice(text).map_err(|error| {
            line_error(table, line, &format!("is not a JSON object ({error}); each line needs one"))
        })?;
        let chosen = Chosen::of(fields.iter().map(|(name, _)| name.as_str()));
        if let Some(name) = chosen.twice {
            return Err(line_error(
                table,
                line,
                &format!("has two values called {name:?}; remove one"),
            ));
        }
        let text = |place: usize| {
            let (name, value) = &fields[place];
            match value {
                Value::Null => Ok(None),
                Value::String(text) => Ok(Some(Text { written: text.clone(), exact: true })),
                Value::Number(number) => {
                    Ok(Some(Text { written: number.to_string(), exact: true }))
                }
                _ => Err(line_error(table, line, &format!("{name} must be text or a number"))),
            }
        };
        let optional = |place: Option<usize>| place.map(text).transpose().map(Option::flatten);
        let Some(path) = optional(chosen.path)? else {
            let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
            let message = format!(
                "has no path; each line needs one, such as {{\"path\": \"a.jpg\", \"label\": \
                 \"cat\"}} (it has {})",
                short(&names, 20)
            );
            return Err(line_error(table, line, &message));
        };
        let (label, split) =
            (optional(chosen.label)?, optional(chosen.split)?.map(|split| split.written));
        rows.push(row(table, RawRow { line, path, label, split })?);

        for (_, (name, value)) in
            fields.iter().enumerate().filter(|(place, _)| !chosen.uses(*place))
        {
            let column = unused.entry(name.clone()).or_insert_with(|| Unused::new(name));
            match value {
                Value::Null => {}
                Value::String(text) => column.see(text),
                _ => column.see("-"),
            }
        }
        for fit in chosen.also_fit {
            if !all.also_fit.contains(&fit) {
                all.also_fit.push(fit);
            }
        }
        all.label_name = all.label_name.or(chosen.label_name);
        all.split = all.split.or(chosen.split);
    }
    let notes =
        columns::notes(&shown(table).to_string(), &all, &unused.into_values().collect::<Vec<_>>());
    Ok(Table { rows, notes, unlabelled: None })
}
