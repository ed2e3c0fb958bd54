//! Bytes that no codec of ours reads, as JSON for people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The payload as JSON where it is JSON, else as text where it is text, else `{"$base64": "…"}`. No bytes are `null`.
pub fn raw_json(data: &[u8]) -> Value {
    if data.is_empty() {
        return Value::Null;
    }
    if let Ok(json) = serde_json::from_slice(data) {
        return json;
    }
    match std::str::from_utf8(data) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => text.into(),
        Ok(_) | Err(_) => json!({ "$base64": STANDARD.encode(data) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_json_as_text_or_as_base64() {
        assert_eq!(raw_json(br#"{"a":1}"#), json!({"a": 1}));
        assert_eq!(raw_json(b"plain words\n"), json!("plain words\n"));
        assert_eq!(raw_json(&[0, 255]), json!({"$base64": "AP8="}));
        assert_eq!(raw_json(b"\x02a"), json!({"$base64": "AmE="}));
        assert_eq!(raw_json(b""), Value::Null);
    }
}
