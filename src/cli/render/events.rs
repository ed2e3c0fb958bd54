//! An event as one line, so that a long read flows.

use super::super::output::Look;
use super::{Paint, cut, paint};
use crate::codec::EventView;

/// `position time stream@revision type payload`; cut to the terminal's columns.
pub(in super::super) fn event_line(event: &EventView, look: Look) -> String {
    let head = format!("{:>9}  {}  ", event.position.0, event.time);
    let place = format!("{}@{}", event.stream, event.revision);
    let payload = match &event.undecodable {
        Some(reason) => format!("(does not decode: {reason})"),
        None => event.data.to_string(),
    };
    let used = head.chars().count() + place.chars().count() + event.event_type.as_str().len() + 4;
    let room = look.columns.map(|columns| columns.saturating_sub(u16::try_from(used).unwrap_or(0)));
    let (head, event_type) =
        (paint(look, Paint::Faint, &head), paint(look, Paint::Bold, event.event_type.as_str()));
    let payload = cut(&payload, room.map(|room| room.max(20)));
    let payload = match event.undecodable {
        Some(_) => paint(look, Paint::Red, &payload),
        None => payload,
    };
    format!("{head}{place}  {event_type}  {payload}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line() {
        let event = json!({
            "position": 17, "stream": "account-A001", "revision": 3,
            "time": "2018-01-01T00:00:02.61Z", "type": "trading.CashDeposited",
            "id": "018f6d0c-0000-7000-8000-000000000000", "data": {"amount": "100.50"},
        });
        let mut event: EventView = serde_json::from_value(event).expect("as the API tells it");
        let wide = event_line(&event, Look::default());
        insta::assert_snapshot!(wide.trim(), @r#"
        17  2018-01-01T00:00:02.61Z  account-A001@3  trading.CashDeposited  {"amount":"100.50"}
        "#);
        let narrow = Look { columns: Some(80), ..Look::default() };
        event.data =
            json!({"text": "a text that is far too long to be shown on one line of a terminal"});
        insta::assert_snapshot!(event_line(&event, narrow).trim(), @r#"
        17  2018-01-01T00:00:02.61Z  account-A001@3  trading.CashDeposited  {"text":"a text tha…
        "#);
        event.undecodable = Some("its bytes do not fit".to_owned());
        insta::assert_snapshot!(event_line(&event, Look::default()).trim(), @r"
        17  2018-01-01T00:00:02.61Z  account-A001@3  trading.CashDeposited  (does not decode: its bytes do not fit)
        ");
    }
}
