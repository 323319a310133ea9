//! TensorBoard's events as messages (`tensorboard/compat/proto/event.proto` and `summary.proto`,
//! and `tensorboard/plugins/hparams/plugin_data.proto`).

use crate::protobuf::{Field, Message, fields};
use serde_json::Value;

/// The content of an event's summary.
pub(super) enum Content<'a> {
    /// Numbers by tag.
    Scalars(&'a [(&'a str, f32)]),
    /// The options of a run.
    Start(&'a [(String, Value)]),
    /// The run is complete.
    End,
}

/// The first event of a file.
pub(super) fn version(seconds: f64) -> Vec<u8> {
    Message::new().double(1, seconds).text(3, "brain.Event:2").finish()
}

/// An event at a time, in seconds since 1970, and a step.
pub(super) fn event(seconds: f64, step: u64, content: &Content<'_>) -> Vec<u8> {
    let summary = match content {
        Content::Scalars(values) => values.iter().fold(Message::new(), |summary, (tag, value)| {
            summary.message(1, &Message::new().text(1, tag).float(2, *value))
        }),
        Content::Start(options) => {
            hparams("_hparams_/session_start_info", 3, &start(options, seconds))
        }
        Content::End => {
            // The status is success.
            let end = Message::new().integer(1, 1).double(2, seconds);
            hparams("_hparams_/session_end_info", 4, &end)
        }
    };
    Message::new().double(1, seconds).integer(2, step as i64).message(5, &summary).finish()
}

/// A summary of the plugin for hyperparameters, whose message is in the metadata.
fn hparams(tag: &str, field: u32, message: &Message) -> Message {
    // Version 0 of the plugin's data.
    let content = Message::new().integer(1, 0).message(field, message).finish();
    let plugin = Message::new().text(1, "hparams").bytes(2, &content);
    let metadata = Message::new().message(1, &plugin);
    // The value itself means nothing: a single 0 of type f32.
    let shape = Message::new().message(2, &Message::new().integer(1, 1));
    let tensor = Message::new().integer(1, 1).message(2, &shape).bytes(5, &0f32.to_le_bytes());
    Message::new()
        .message(1, &Message::new().text(1, tag).message(8, &tensor).message(9, &metadata))
}

fn start(options: &[(String, Value)], seconds: f64) -> Message {
    let message = options.iter().fold(Message::new(), |message, (name, value)| {
        let value = match value {
            Value::Bool(value) => Message::new().integer(4, i64::from(*value)),
            Value::Number(number) => Message::new().double(2, number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => Message::new().text(3, text),
            other => Message::new().text(3, &other.to_string()),
        };
        message.message(1, &Message::new().text(1, name).message(2, &value))
    });
    message.double(5, seconds)
}

/// The values of an event by tag, as far as they are numbers.
type Values = Vec<(String, Option<f32>)>;

/// The step of an event, and its values: each tag, with its number if it is one. `None` if the
/// message is damaged.
pub(super) fn values(event: &[u8]) -> Option<(u64, Values)> {
    let (mut step, mut values) = (0, Vec::new());
    for field in fields(event) {
        match field? {
            (2, Field::Integer(value)) => step = value,
            (5, Field::Bytes(summary)) => {
                for value in fields(summary) {
                    if let (1, Field::Bytes(value)) = value? {
                        values.push(tag_and_number(value)?);
                    }
                }
            }
            _ => {}
        }
    }
    Some((step, values))
}

fn tag_and_number(value: &[u8]) -> Option<(String, Option<f32>)> {
    let (mut tag, mut number) = (String::new(), None);
    for field in fields(value) {
        match field? {
            (1, Field::Bytes(text)) => tag = String::from_utf8_lossy(text).into_owned(),
            (2, Field::Fixed(bytes)) => number = Some(f32::from_le_bytes(bytes.try_into().ok()?)),
            _ => {}
        }
    }
    Some((tag, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_encoded_as_tensorboard_does() {
        // tensorboard.compat.proto.event_pb2.Event(wall_time=1.5, step=7, summary=Summary(value=[
        // Summary.Value(tag="a", simple_value=0.5)])).SerializeToString()
        let expected = [
            0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 0x07, 0x2a, 0x0a, 0x0a, 0x08, 0x0a, 0x01,
            0x61, 0x15, 0, 0, 0, 0x3f,
        ];
        let found = event(1.5, 7, &Content::Scalars(&[("a", 0.5)]));
        assert_eq!(found, expected);
        assert_eq!(values(&found), Some((7, vec![("a".to_owned(), Some(0.5))])));
        assert_eq!(values(&version(1.0)), Some((0, Vec::new())));
        assert_eq!(values(&found[..found.len() - 1]), None);
        let start = event(0.0, 0, &Content::Start(&[("lr".to_owned(), 0.5.into())]));
        let tag = "_hparams_/session_start_info".to_owned();
        assert_eq!(values(&start), Some((0, vec![(tag, None)])));
    }
}
