//! JSON as text: values are kept as they were written, but for the white space between their
//! parts. So numbers keep all their digits, `1.0` stays `1.0`, and fields keep their order;
//! the same text comes back, and the same object always has the same key.

use std::fmt;

use serde::de::{self, Deserializer as _, MapAccess};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// What comes before the hash of a value that names itself.
const CONTENT: &str = "sha256/";

/// The text without white space between its parts, if it is JSON.
pub fn compact(text: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<&RawValue>(text)?;
    Ok(squeezed(text))
}

/// A text as a JSON string.
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The name of an object after its content.
pub fn content_name(compact: &str) -> String {
    let hash = Sha256::digest(compact.as_bytes());
    format!("{CONTENT}{}", data_encoding::HEXLOWER.encode(&hash))
}

/// An object of one line, and the name that a field of it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its text, without white space between its parts.
    pub text: String,
    /// What the wanted field says; `None` where there is none, or none was wanted.
    pub field: Option<Result<String, NoName>>,
}

/// A field whose value names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoName;

impl Object {
    /// Reads a line; `field` is the one whose value is wanted. Of a field that stands there
    /// twice the last counts, as for most who read JSON.
    pub fn read(line: &str, field: Option<&str>) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(line);
        let field = reader.deserialize_map(Fields { field })?;
        reader.end()?;
        let text = squeezed(line);
        Ok(Self { text, field })
    }
}

struct Fields<'f> {
    field: Option<&'f str>,
}

impl<'de> de::Visitor<'de> for Fields<'_> {
    type Value = Option<Result<String, NoName>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut named = None;
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if self.field == Some(name.as_str()) {
                named = Some(name_of(value.get()));
            }
        }
        Ok(named)
    }
}

/// A string's text, or a number as it is written.
fn name_of(value: &str) -> Result<String, NoName> {
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).map_err(|_| NoName),
        Some(b'-' | b'0'..=b'9') => Ok(value.to_owned()),
        _ => Err(NoName),
    }
}

/// JSON without the white space outside of its strings.
fn squeezed(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        match *c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' => return in_string,
            _ => {}
        }
        true
    };
    text.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_space_between_parts_goes_and_no_digit_is_lost() {
        for (text, same) in [
            (" 1.0 ", "1.0"),
            ("12345678901234567890.10", "12345678901234567890.10"),
            ("1e999", "1e999"),
            ("[ 1 , 2\n]", "[1,2]"),
            (
                r#"{ "b" : "x \" y" , "a" : "\\" }"#,
                r#"{"b":"x \" y","a":"\\"}"#,
            ),
            (r#""a  b""#, r#""a  b""#),
            ("\"ä\u{2028}日\"", "\"ä\u{2028}日\""),
        ] {
            assert_eq!(compact(text).ok().as_deref(), Some(same), "{text}");
            assert_eq!(compact(same).ok().as_deref(), Some(same), "{same}");
        }
        for bad in [
            "",
            "plan",
            "1 2",
            "[1",
            "{\"a\" 1}",
            "\"a\nb\"",
            "01",
            "\u{feff}1",
        ] {
            assert!(compact(bad).is_err(), "{bad:?}");
        }
        let deep = "[".repeat(6_000) + &"]".repeat(6_000);
        assert_eq!(compact(&deep).ok(), Some(deep));
    }

    #[test]
    fn a_line_is_an_object_and_its_field_a_name() {
        let read = |line: &str| Object::read(line, Some("id"));
        let name = |line: &str| read(line).ok().and_then(|it| it.field);
        assert_eq!(
            name(r#"{"id": "a\u00e4\"/ b"}"#),
            Some(Ok("aä\"/ b".into()))
        );
        assert_eq!(
            name(r#"{"x":{"id":1},"id":-1.50}"#),
            Some(Ok("-1.50".into()))
        );
        assert_eq!(name(r#"{"id":1,"id":2}"#), Some(Ok("2".into())));
        assert_eq!(name(r#"{"x":1}"#), None);
        for none in ["{}", "[]", "null", "true"] {
            assert_eq!(name(&format!(r#"{{"id":{none}}}"#)), Some(Err(NoName)));
        }
        for bad in [
            "[1]",
            "1",
            "\"a\"",
            "null",
            "{\"a\":1",
            "{} {}",
            "{\"a\":1,}",
            "",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let line = r#"{ "n" : 9007199254740993.0, "a" : [ 1 ] }"#;
        let text = Object::read(line, None).expect("an object").text;
        assert_eq!(text, r#"{"n":9007199254740993.0,"a":[1]}"#);
    }

    #[test]
    fn space_makes_no_other_object() {
        let text = |line| Object::read(line, None).expect("an object").text;
        let name = |line| content_name(&text(line));
        assert_eq!(name(r#"{"a":1}"#), name(r#" { "a" : 1 } "#));
        assert_ne!(name(r#"{"a":1}"#), name(r#"{"a":1.0}"#));
        let hash = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
        assert_eq!(name(r#"{"a":1}"#), format!("sha256/{hash}"));
    }
}
