//! Protocol Buffers' wire format, as far as ONNX and TensorBoard need it: numbers, text, and nested
//! messages.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. An ONNX file needs a dozen message
//! types of two or three fields each, an event file fewer. Derived types for them (with the crate
//! `prost`) would take more lines than this module, and would copy every weight again.

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
}

/// How a field's value is encoded.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

impl Message {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    /// A field of type `int32`, `int64`, or an enumeration.
    #[must_use]
    pub fn integer(mut self, field: u32, value: i64) -> Self {
        self.key(field, VARINT);
        // Negative numbers are written as 64 bits in two's complement.
        self.varint(value as u64);
        self
    }

    /// A field of type `float`.
    #[must_use]
    pub fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, FIXED_32);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A field of type `double`.
    #[must_use]
    pub fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, FIXED_64);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A field of type `bytes`.
    #[must_use]
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.key(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.bytes.extend(value);
        self
    }

    /// A field of type `string`.
    #[must_use]
    pub fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// A field that is a message.
    #[must_use]
    pub fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.bytes)
    }

    /// A repeated field of messages.
    #[must_use]
    pub fn messages<'a>(self, field: u32, values: impl IntoIterator<Item = &'a Message>) -> Self {
        values.into_iter().fold(self, |message, value| message.message(field, value))
    }

    /// A repeated field of integers, with a key for each, as in ONNX's schema.
    #[must_use]
    pub fn integers(self, field: u32, values: &[i64]) -> Self {
        values.iter().fold(self, |message, &value| message.integer(field, value))
    }

    /// A field as it was read. `Fixed` has four or eight bytes.
    #[must_use]
    pub fn field(mut self, number: u32, value: Field<'_>) -> Self {
        match value {
            Field::Integer(value) => self.integer(number, value as i64),
            Field::Bytes(value) => self.bytes(number, value),
            Field::Fixed(value) => {
                self.key(number, if value.len() == 4 { FIXED_32 } else { FIXED_64 });
                self.bytes.extend(value);
                self
            }
        }
    }

    /// The whole message.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// A number.
    Integer(u64),
    /// Bytes, text or a message.
    Bytes(&'a [u8]),
    /// Four or eight bytes.
    Fixed(&'a [u8]),
}

/// The fields of a message with their numbers, in the file's order. A damaged field is `None`, and
/// nothing follows it.
pub fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u32, Field<'_>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(&mut bytes);
        if field.is_none() {
            bytes = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u32, Field<'a>)> {
    let key = next_varint(bytes)?;
    let value = match key & 7 {
        VARINT => Field::Integer(next_varint(bytes)?),
        FIXED_64 => Field::Fixed(bytes.split_off(..8)?),
        FIXED_32 => Field::Fixed(bytes.split_off(..4)?),
        LENGTH_DELIMITED => {
            let length = usize::try_from(next_varint(bytes)?).ok()?;
            Field::Bytes(bytes.split_off(..length)?)
        }
        _ => return None,
    };
    Some((u32::try_from(key >> 3).ok()?, value))
}

fn next_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentations_examples_are_encoded_as_there() {
        assert_eq!(Message::new().integer(1, 150).finish(), [0x08, 0x96, 0x01]);
        let text = Message::new().text(2, "testing");
        assert_eq!(text.clone().finish(), [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        let nested = Message::new().message(3, &Message::new().integer(1, 150));
        assert_eq!(nested.finish(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let negative = Message::new().integer(1, -2).finish();
        assert_eq!(negative, [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn fields_come_back_and_a_cut_message_ends_with_none() {
        let bytes = Message::new()
            .integer(1, 300)
            .float(2, 1.5)
            .text(1000, "a")
            .integers(4, &[-1])
            .finish();
        let found: Vec<_> = fields(&bytes).collect();
        let expected = [
            Some((1, Field::Integer(300))),
            Some((2, Field::Fixed(&[0, 0, 0xc0, 0x3f]))),
            Some((1000, Field::Bytes(b"a"))),
            Some((4, Field::Integer(u64::MAX))),
        ];
        assert_eq!(found, expected);
        for end in 0..bytes.len() {
            let cut = fields(&bytes[..end]).collect::<Vec<_>>();
            assert!(
                cut.len() <= 4 && cut.iter().rev().skip(1).all(Option::is_some),
                "{end}: {cut:?}"
            );
        }
    }
}
