//! Converts the f16 tensors of an ONNX file to f32, because rten has no f16.
//!
//! Everything else stays as it is in the file, so the file that runs is the file that was written.

use half::f16;
use regraft::protobuf::{Field, Message, fields};

// Field numbers of `onnx.proto`, and its element types.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const TENSOR_TYPE: u32 = 2;
const TENSOR_DATA: u32 = 9;
const F32: i64 = 1;
const F16: u64 = 10;

/// The file with its f16 tensors widened; `None` if it is damaged.
pub(crate) fn widened(file: &[u8]) -> Option<Vec<u8>> {
    Some(rewritten(file, MODEL_GRAPH, graph)?.finish())
}

fn graph(bytes: &[u8]) -> Option<Message> {
    rewritten(bytes, GRAPH_INITIALIZER, tensor)
}

/// A message with each message in `field` changed.
fn rewritten(
    bytes: &[u8],
    field: u32,
    change: impl Fn(&[u8]) -> Option<Message>,
) -> Option<Message> {
    fields(bytes).try_fold(Message::new(), |message, found| {
        let (number, value) = found?;
        Some(match value {
            Field::Bytes(inner) if number == field => message.message(field, &change(inner)?),
            value => message.field(number, value),
        })
    })
}

fn tensor(bytes: &[u8]) -> Option<Message> {
    let is_half = fields(bytes).flatten().any(|field| field == (TENSOR_TYPE, Field::Integer(F16)));
    fields(bytes).try_fold(Message::new(), |message, found| {
        let (number, value) = found?;
        Some(match value {
            Field::Integer(F16) if number == TENSOR_TYPE => message.integer(TENSOR_TYPE, F32),
            Field::Bytes(data) if is_half && number == TENSOR_DATA => {
                let values =
                    data.as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32());
                let wide: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
                message.bytes(TENSOR_DATA, &wide)
            }
            value => message.field(number, value),
        })
    })
}
