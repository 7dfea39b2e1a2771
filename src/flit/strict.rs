//! JSON in which nothing is said twice: `serde_json` alone keeps the last of two equal keys.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::Deserializer;
use serde_json::{Map, Value};

/// Reads one value.
///
/// # Errors
/// It is not JSON, or an object has a key twice; line and column are in the message.
pub fn parse(text: &str) -> serde_json::Result<Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = seq.next_element_seed(Strict)? {
            all.push(value);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict)?;
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "{key:?} is given twice in one object: remove one"
                )));
            }
            all.insert(key, value);
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_as_serde_json_but_for_equal_keys() {
        let text = r#"[null, true, 7, -7, 1.5, "x", {"a": {"b": []}, "b": 1}]"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text).unwrap(), plain);
        let e = parse(r#"[{"a": 1, "b": {"c": 1, "c": 1}}]"#).unwrap_err();
        assert!(
            e.to_string().contains("\"c\" is given twice") && e.line() == 1,
            "{e}"
        );
        for bad in ["", "{", "[1] 2", "{\"a\"}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
