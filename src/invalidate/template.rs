//! Which keys a changed row has in the cache: `shop.orders=order:{id}`. No IO.

use std::collections::BTreeMap;

/// Templates for one table, at most.
const MOST: usize = 32;

/// A text with columns in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(String),
}

/// A column's value in a row event, as far as it can be part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// An integer in decimal, or a text.
    Text(String),
    /// NULL: the row has no such key.
    Null,
    /// Another type, or a text that is no UTF-8.
    Other,
}

/// Why a template can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Its form is wrong.
    #[error("{text:?}: {why}; write DATABASE.TABLE=TEXT{{COLUMN}}TEXT, for example shop.orders=order:{{id}}")]
    Malformed {
        /// As given.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The table has no such column.
    #[error("table {table} has no column {column:?}, which a key's template names: keys of its rows are not erased")]
    UnknownColumn {
        /// `database.table`
        table: String,
        /// As the template names it.
        column: String,
    },
    /// The column can't be part of a key.
    #[error("table {table}, column {column:?}: only integers and UTF-8 texts can be part of a key: keys of its rows are not erased")]
    WrongType {
        /// `database.table`
        table: String,
        /// As the template names it.
        column: String,
    },
}

impl Template {
    fn parse(text: &str, whole: &str) -> Result<Self, TemplateError> {
        let malformed = |why| TemplateError::Malformed { text: whole.to_owned(), why };
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (column, after) = after.split_once('}').ok_or_else(|| malformed("a { without its }"))?;
            if column.is_empty() || column.contains('{') {
                return Err(malformed("no column between { and }"));
            }
            parts.extend([Part::Text(before.to_owned()), Part::Column(column.to_owned())]);
            rest = after;
        }
        if rest.contains('}') {
            return Err(malformed("a } without its {"));
        }
        parts.push(Part::Text(rest.to_owned()));
        if !parts.iter().any(|part| matches!(part, Part::Column(_))) {
            return Err(malformed("no column in it: all rows would have the same key"));
        }
        Ok(Self(parts))
    }

    /// The key of a row; None: it has none. `cell`: the value of a column, None: there is no such column.
    pub fn key(&self, table: &str, cell: impl Fn(&str) -> Option<Cell>) -> Result<Option<String>, TemplateError> {
        let mut key = String::new();
        for part in &self.0 {
            let column = match part {
                Part::Text(text) => {
                    key.push_str(text);
                    continue;
                }
                Part::Column(column) => column,
            };
            match cell(column) {
                Some(Cell::Text(value)) => key.push_str(&value),
                Some(Cell::Null) => return Ok(None),
                Some(Cell::Other) => return Err(TemplateError::WrongType { table: table.to_owned(), column: column.clone() }),
                None => return Err(TemplateError::UnknownColumn { table: table.to_owned(), column: column.clone() }),
            }
        }
        Ok(Some(key))
    }
}

/// Templates by `database.table`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates(BTreeMap<String, Vec<Template>>);

impl Templates {
    /// Reads `DATABASE.TABLE=TEMPLATE`, several for a table perhaps.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, TemplateError> {
        let mut all = BTreeMap::<String, Vec<Template>>::new();
        for text in texts {
            let malformed = |why| TemplateError::Malformed { text: text.to_owned(), why };
            let (table, template) = text.split_once('=').ok_or_else(|| malformed("no ="))?;
            let named = table.split_once('.').is_some_and(|(database, table)| !database.is_empty() && !table.is_empty() && !table.contains('.'));
            if !named {
                return Err(malformed("a table is DATABASE.TABLE"));
            }
            let of = all.entry(table.to_owned()).or_default();
            of.push(Template::parse(template, text)?);
            if of.len() > MOST {
                return Err(malformed("too many templates for one table"));
            }
        }
        Ok(Self(all))
    }

    /// Those of a table.
    pub fn of(&self, table: &str) -> &[Template] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }

    /// May this statement change rows of our tables without row events? DDL, and the second half of an XA transaction.
    pub fn touched_by(&self, schema: &str, sql: &str) -> bool {
        let words = sql.split_whitespace().take(2).map(str::to_uppercase).collect::<Vec<_>>();
        match words.first().map(String::as_str) {
            Some("XA") => words.get(1).is_some_and(|second| second == "COMMIT"),
            Some("TRUNCATE" | "DROP" | "ALTER" | "RENAME" | "CREATE") => {
                let lower = sql.to_lowercase();
                self.0.keys().any(|name| {
                    let (database, table) = name.split_once('.').unwrap_or(("", name));
                    lower.contains(&table.to_lowercase()) || (words.get(1).is_some_and(|w| w == "DATABASE" || w == "SCHEMA") && (schema == database || lower.contains(&database.to_lowercase())))
                })
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_keys() {
        let templates = Templates::parse(["shop.orders=order:{id}", "shop.orders=of:{user_id}:{id}!"]).expect("well formed");
        let cell = |column: &str| match column {
            "id" => Some(Cell::Text("7".to_owned())),
            "user_id" => Some(Cell::Null),
            _ => None,
        };
        let keys = templates.of("shop.orders").iter().map(|t| t.key("shop.orders", cell)).collect::<Vec<_>>();
        assert_eq!(keys, [Ok(Some("order:7".to_owned())), Ok(None)]);
        assert_eq!(templates.of("shop.other"), []);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("shop.orders", "no ="),
            ("orders=order:{id}", "a table is"),
            ("shop.orders=order:{id", "without its }"),
            ("shop.orders=order:{}", "no column between"),
            ("shop.orders=order:id}", "without its {"),
            ("shop.orders=order", "all rows would have the same key"),
        ] {
            let refused = Templates::parse([text]).expect_err("malformed").to_string();
            assert!(refused.contains(why) && refused.contains("shop.orders=order:{id}"), "{refused}");
        }
        let template = &Templates::parse(["d.t=x:{gone}"]).expect("well formed");
        let refused = template.of("d.t")[0].key("d.t", |_| None).expect_err("no such column").to_string();
        assert!(refused.contains("d.t has no column \"gone\""), "{refused}");
        let refused = template.of("d.t")[0].key("d.t", |_| Some(Cell::Other)).expect_err("no text").to_string();
        assert!(refused.contains("only integers and UTF-8 texts"), "{refused}");
    }

    #[test]
    fn statements_that_change_rows_without_row_events() {
        let templates = Templates::parse(["shop.orders=order:{id}"]).expect("well formed");
        for sql in ["TRUNCATE TABLE `orders`", "truncate shop.orders", "ALTER TABLE Orders DROP COLUMN x", "DROP DATABASE shop", "XA COMMIT 'x'"] {
            assert!(templates.touched_by("shop", sql), "{sql}");
        }
        for sql in ["BEGIN", "XA START 'x'", "CREATE TABLE other (id INT)", "DROP DATABASE elsewhere", "CREATE USER 'orders_app'@'%'"] {
            assert_eq!(templates.touched_by("x", sql), sql.contains("orders"), "{sql}");
        }
    }
}
