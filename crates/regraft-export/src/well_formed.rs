//! Checks whether a file has the form of exported files. rten 0.24 never returns on some damaged
//! files: on messages whose last field is truncated, and on nodes that read each other.

use regraft::protobuf::{Field, fields};
use std::collections::HashSet;

/// The type of a field.
enum Kind {
    Integer,
    Float,
    /// Bytes or text.
    Bytes,
    Message(&'static [(u32, Kind)]),
}
use Kind::{Bytes, Float, Integer, Message};

// The messages of `onnx.proto`, with the fields that `onnx::builder` writes.
const MODEL: &[(u32, Kind)] = &[
    (1, Integer),
    (2, Bytes),
    (3, Bytes),
    (MODEL_GRAPH, Message(GRAPH)),
    (8, Message(OPERATOR_SET)),
    (14, Message(ENTRY)),
];
const OPERATOR_SET: &[(u32, Kind)] = &[(1, Bytes), (2, Integer)];
const ENTRY: &[(u32, Kind)] = &[(1, Bytes), (2, Bytes)];
const GRAPH: &[(u32, Kind)] = &[
    (GRAPH_NODE, Message(NODE)),
    (2, Bytes),
    (GRAPH_INITIALIZER, Message(TENSOR)),
    (GRAPH_INPUT, Message(VALUE)),
    (12, Message(VALUE)),
];
const NODE: &[(u32, Kind)] =
    &[(NODE_INPUT, Bytes), (NODE_OUTPUT, Bytes), (3, Bytes), (4, Bytes), (5, Message(ATTRIBUTE))];
const ATTRIBUTE: &[(u32, Kind)] =
    &[(1, Bytes), (2, Float), (3, Integer), (8, Integer), (20, Integer)];
const TENSOR: &[(u32, Kind)] = &[(1, Integer), (2, Integer), (TENSOR_NAME, Bytes), (9, Bytes)];
const VALUE: &[(u32, Kind)] = &[(VALUE_NAME, Bytes), (2, Message(TYPE)), (3, Bytes)];
const TYPE: &[(u32, Kind)] = &[(1, Message(TENSOR_TYPE))];
const TENSOR_TYPE: &[(u32, Kind)] = &[(1, Integer), (2, Message(SHAPE))];
const SHAPE: &[(u32, Kind)] = &[(1, Message(EXTENT))];
const EXTENT: &[(u32, Kind)] = &[(1, Integer), (2, Bytes)];

const MODEL_GRAPH: u32 = 7;
const GRAPH_NODE: u32 = 1;
const GRAPH_INITIALIZER: u32 = 5;
const GRAPH_INPUT: u32 = 11;
const NODE_INPUT: u32 = 1;
const NODE_OUTPUT: u32 = 2;
const TENSOR_NAME: u32 = 8;
const VALUE_NAME: u32 = 1;

/// Whether the file has only known and complete fields, and its nodes in the order of computation.
pub(crate) fn is_well_formed(file: &[u8]) -> bool {
    has_fields(file, MODEL) && is_in_order(file)
}

fn has_fields(message: &[u8], known: &[(u32, Kind)]) -> bool {
    fields(message).all(|field| {
        let Some((number, value)) = field else { return false };
        let kind = known.iter().find(|(known, _)| *known == number).map(|(_, kind)| kind);
        match (kind, value) {
            (Some(Integer), Field::Integer(_)) | (Some(Bytes), Field::Bytes(_)) => true,
            (Some(Float), Field::Fixed(bytes)) => bytes.len() == 4,
            (Some(Message(known)), Field::Bytes(inner)) => has_fields(inner, known),
            _ => false,
        }
    })
}

/// Whether each node reads only inputs, initializers and outputs of earlier nodes, each under a
/// unique name. `false` also for a damaged file.
fn is_in_order(file: &[u8]) -> bool {
    let mut graphs = messages(file, MODEL_GRAPH);
    let (Some(Some(graph)), None) = (graphs.next(), graphs.next()) else { return false };
    let Some(mut known) = given(graph) else { return false };
    messages(graph, GRAPH_NODE).all(|node| {
        node.is_some_and(|node| {
            let reads_known = messages(node, NODE_INPUT)
                .all(|name| name.is_some_and(|name| name.is_empty() || known.contains(name)));
            reads_known
                && messages(node, NODE_OUTPUT)
                    .all(|name| name.is_some_and(|name| known.insert(name)))
        })
    })
}

/// The names of inputs and initializers; `None` if one occurs twice.
fn given(graph: &[u8]) -> Option<HashSet<&[u8]>> {
    let mut known = HashSet::new();
    for (field, name) in [(GRAPH_INITIALIZER, TENSOR_NAME), (GRAPH_INPUT, VALUE_NAME)] {
        for message in messages(graph, field) {
            for name in messages(message?, name) {
                known.insert(name?).then_some(())?;
            }
        }
    }
    Some(known)
}

/// The byte fields with this number; the first damaged one is `None`.
fn messages(bytes: &[u8], number: u32) -> impl Iterator<Item = Option<&[u8]>> {
    fields(bytes).filter_map(move |field| match field {
        None => Some(None),
        Some((found, Field::Bytes(value))) if found == number => Some(Some(value)),
        Some(_) => None,
    })
}
