//! A graph of ONNX operators under construction.
//!
//! Field numbers and enumerations are those of `onnx.proto` in ONNX 1.13 (IR version 8, operator
//! set 17).

use crate::error::ExportError;
use half::f16;
use regraft::nn::weights::StorageType;
use regraft::protobuf::Message;
use std::collections::BTreeSet;

/// IR version and operator set that onnxruntime 1.13 and newer read. A newer version would exclude
/// runtimes and gain nothing.
const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;
/// Protocol Buffers' limit on a message.
const LARGEST_FILE: usize = i32::MAX as usize;

/// ONNX's element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32 = 1,
    U8 = 2,
    I64 = 7,
    F16 = 10,
}

/// A tensor in the graph, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(String);

/// An extent of an input or output.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Fixed(usize),
    /// Free, with a name for the reader.
    Free(&'static str),
}

/// A graph of ONNX operators.
pub(super) struct Builder {
    storage: StorageType,
    /// Prefix of the names of new values.
    scope: String,
    used: BTreeSet<String>,
    nodes: Vec<Message>,
    initializers: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
}

/// An attribute of a node.
pub(super) enum Attribute<'a> {
    Integer(&'a str, i64),
    Integers(&'a str, Vec<i64>),
    Float(&'a str, f32),
}

impl Attribute<'_> {
    fn message(&self) -> Message {
        const FLOAT: i64 = 1;
        const INTEGER: i64 = 2;
        const INTEGERS: i64 = 7;
        const TYPE: u32 = 20;
        match self {
            Self::Float(name, value) => {
                Message::new().text(1, name).float(2, *value).integer(TYPE, FLOAT)
            }
            Self::Integer(name, value) => {
                Message::new().text(1, name).integer(3, *value).integer(TYPE, INTEGER)
            }
            Self::Integers(name, values) => {
                Message::new().text(1, name).integers(8, values).integer(TYPE, INTEGERS)
            }
        }
    }
}

impl Builder {
    pub fn new(storage: StorageType) -> Self {
        Self {
            storage,
            scope: String::new(),
            used: BTreeSet::new(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Sets the prefix of the names of new values.
    pub fn set_scope(&mut self, scope: &str) {
        self.scope = scope.to_owned();
    }

    /// A new name: the scope, `joint` and `word`, followed by a number if that name is taken.
    fn fresh(&mut self, joint: char, word: &str) -> String {
        let plain = format!("{}{joint}{word}", self.scope);
        let numbered = (1..)
            .map(|number| if number == 1 { plain.clone() } else { format!("{plain}_{number}") });
        let name = numbered.into_iter().find(|name| !self.used.contains(name)).unwrap_or(plain);
        self.used.insert(name.clone());
        name
    }

    /// An input of the network.
    pub fn input(
        &mut self,
        name: &str,
        element: Element,
        shape: &[Extent],
        description: &str,
    ) -> Value {
        self.used.insert(name.to_owned());
        self.inputs.push(value_info(name, element, shape, description));
        Value(name.to_owned())
    }

    /// Makes the output of an operator an output of the network.
    pub fn output(&mut self, name: &str, value: &Value, shape: &[Extent], description: &str) {
        self.outputs.push(value_info(name, Element::F32, shape, description));
        self.push("Identity", &[value], &[], &format!("output/{name}"), name.to_owned());
    }

    /// Adds an operator on `inputs` and returns its output.
    pub fn op(&mut self, operator: &str, inputs: &[&Value]) -> Value {
        self.op_with(operator, inputs, &[])
    }

    /// Like [`Builder::op`], with attributes.
    pub fn op_with(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[Attribute],
    ) -> Value {
        self.named_op(operator, operator, inputs, attributes)
    }

    /// Like [`Builder::op_with`], with a word for the result.
    pub fn named_op(
        &mut self,
        word: &str,
        operator: &str,
        inputs: &[&Value],
        attributes: &[Attribute],
    ) -> Value {
        // Some runtimes look up nodes and values in one table, so they must not share names.
        let name = self.fresh('/', word);
        let output = format!("{name}_output");
        self.push(operator, inputs, attributes, &name, output)
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[Attribute],
        name: &str,
        output: String,
    ) -> Value {
        let node = inputs.iter().fold(Message::new(), |node, input| node.text(1, &input.0));
        let attributes: Vec<Message> = attributes.iter().map(Attribute::message).collect();
        self.nodes
            .push(node.text(2, &output).text(3, name).text(4, operator).messages(5, &attributes));
        Value(output)
    }

    /// Casts to f32.
    pub fn cast_f32(&mut self, value: &Value) -> Value {
        self.op_with("Cast", &[value], &[Attribute::Integer("to", Element::F32 as i64)])
    }

    /// Adds a tensor of numbers that the file stores in f32.
    pub fn floats(&mut self, word: &str, shape: &[usize], values: &[f32]) -> Value {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(word, Element::F32, shape, &data)
    }

    /// A single number.
    pub fn float(&mut self, value: f32) -> Value {
        self.floats("number", &[], &[value])
    }

    /// Adds a tensor of integers.
    pub fn integers(&mut self, word: &str, shape: &[usize], values: &[i64]) -> Value {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(word, Element::I64, shape, &data)
    }

    /// A single integer.
    pub fn integer(&mut self, value: i64) -> Value {
        self.integers("number", &[], &[value])
    }

    /// Adds a learned tensor; `word` is the end of its PyTorch name. It is stored in f16 if weights
    /// are to be halved and the tensor has two dimensions or more (see [`StorageType::F16`]).
    ///
    /// # Errors
    /// If an element is not finite or f16 cannot hold it.
    pub fn learned(
        &mut self,
        word: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<Value, ExportError> {
        let name = || format!("{}.{word}", self.scope);
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ExportError::NotFinite { name: name() });
        }
        if self.storage == StorageType::F32 || shape.len() < 2 {
            return Ok(self.floats(word, shape, values));
        }
        if let Some(&value) = values.iter().find(|&&value| !f16::from_f32(value).is_finite()) {
            return Err(ExportError::HalfRange { name: name(), value });
        }
        let data: Vec<u8> =
            values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        let stored = self.initializer(word, Element::F16, shape, &data);
        Ok(self.cast_f32(&stored))
    }

    fn initializer(&mut self, word: &str, element: Element, shape: &[usize], data: &[u8]) -> Value {
        let name = self.fresh('.', word);
        let shape: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
        let tensor = Message::new()
            .integers(1, &shape)
            .integer(2, element as i64)
            .text(8, &name)
            .bytes(9, data);
        self.initializers.push(tensor);
        Value(name)
    }

    /// The file.
    ///
    /// # Errors
    /// If it is too large for ONNX.
    pub fn finish(self, name: &str, metadata: &[(String, String)]) -> Result<Vec<u8>, ExportError> {
        let Self { nodes, initializers, inputs, outputs, .. } = self;
        let graph = Message::new().messages(1, &nodes).text(2, name).messages(5, &initializers);
        drop((nodes, initializers));
        let graph = graph.messages(11, &inputs).messages(12, &outputs);
        let entry = |(key, value): &(String, String)| Message::new().text(1, key).text(2, value);
        let metadata: Vec<Message> = metadata.iter().map(entry).collect();
        let file = Message::new()
            .integer(1, IR_VERSION)
            .text(2, "regraft")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &Message::new().text(1, "").integer(2, OPERATOR_SET))
            .messages(14, &metadata)
            .finish();
        if file.len() > LARGEST_FILE {
            Err(ExportError::TooLarge { bytes: file.len() })
        } else {
            Ok(file)
        }
    }
}

fn value_info(name: &str, element: Element, shape: &[Extent], description: &str) -> Message {
    let extent = |extent: &Extent| match *extent {
        Extent::Fixed(length) => Message::new().integer(1, length as i64),
        Extent::Free(name) => Message::new().text(2, name),
    };
    let extents: Vec<Message> = shape.iter().map(extent).collect();
    let tensor =
        Message::new().integer(1, element as i64).message(2, &Message::new().messages(1, &extents));
    Message::new()
        .text(1, name)
        .message(2, &Message::new().message(1, &tensor))
        .text(3, description)
}
