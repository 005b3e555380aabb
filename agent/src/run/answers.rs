//! Answers that stand in several columns, read as one JSON object.

use serde_json::{Map, Value};
use tunesmith_harness::recipe::Row;

/// Names for the column of the objects; the first that is free.
const NAMES: [&str; 3] = ["answer", "fields", "extracted"];

/// The name of the column that the answers become.
pub(super) fn name(columns: &[String]) -> Option<&'static str> {
    NAMES.into_iter().find(|name| !columns.iter().any(|column| column == name))
}

/// Puts the values of `columns` into one object in the column `name`, by their names. An empty cell says that there is
/// nothing to be found; a row without any answer has none.
pub(super) fn join(rows: &mut [Row], columns: &[String], name: &str) {
    for row in rows {
        let blank = |value: &Value| value.as_str().is_some_and(|text| text.trim().is_empty());
        let taken = |column: &String| {
            let value = row.remove(column).filter(|value| !blank(value)).unwrap_or_default();
            (column.clone(), value)
        };
        let object: Map<String, Value> = columns.iter().map(taken).collect();
        let found = object.values().any(|value| !value.is_null());
        row.insert(name.to_owned(), if found { object.into() } else { Value::Null });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answers_of_a_row_are_one_object() {
        let row = |value: Value| value.as_object().cloned().unwrap_or_default();
        let mut rows = vec![
            row(json!({"mail": "a", "guest": "Ann", "nights": "2"})),
            row(json!({"mail": "b", "guest": " ", "nights": 3})),
            row(json!({"mail": "c", "guest": ""})),
        ];
        join(&mut rows, &["guest".to_owned(), "nights".to_owned()], "answer");
        let want = [
            json!({"mail": "a", "answer": {"guest": "Ann", "nights": "2"}}),
            json!({"mail": "b", "answer": {"guest": null, "nights": 3}}),
            json!({"mail": "c", "answer": null}),
        ];
        assert_eq!(rows, want.map(row));
        assert_eq!(name(&["text".to_owned(), "answer".to_owned()]), Some("fields"));
    }
}
