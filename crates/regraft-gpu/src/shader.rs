//! Composes the text of a shader from its bindings, its parameters and its code.
//!
//! Sizes are parameters, so that one compiled shader serves layers of all shapes. The text
//! depends only on properties that a compiler can use: the type of elements, the number that a
//! thread moves at a time, the side of a filter, the shape of a tile.

use std::fmt::Write;
use std::sync::Arc;

/// Threads of a workgroup, but for the kernels that say otherwise.
pub(crate) const THREADS: usize = 256;

/// The type of a buffer's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Storage {
    F32,
    F16,
    U32,
}

impl Storage {
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
        }
    }

    fn scalar(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
        }
    }

    /// The type that the code computes with.
    fn loaded(self) -> &'static str {
        match self {
            Self::F32 | Self::F16 => "f32",
            Self::U32 => "u32",
        }
    }
}

/// Eight halves, which are loaded at once.
const EIGHT: &str = "struct Eight { lo: vec4<f16>, hi: vec4<f16> }\n";

/// Whether a shader writes a buffer. The buffers of a pass lie in one allocation, which wgpu takes
/// for written as a whole, so that those which a shader only reads are declared as written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Read alone, and in no allocation that the shader writes.
    Read,
    /// Written, or in the memory of passes.
    Write,
}

/// A buffer that a shader uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bind {
    pub name: &'static str,
    pub storage: Storage,
    /// Elements that are loaded and stored together: 1, 2 or 4; or 8 of 16 bits, an [`EIGHT`].
    pub width: usize,
    pub access: Access,
}

/// A shader: its text, and the buffers and parameters of its dispatches.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shader {
    pub name: String,
    pub text: String,
    pub binds: Vec<Bind>,
    /// The parameters after the places of the buffers, all u32.
    pub params: Vec<&'static str>,
}

/// Puts a shader together.
pub(crate) struct Builder {
    name: String,
    binds: Vec<Bind>,
    params: Vec<&'static str>,
    code: String,
    /// Whether it multiplies with matrix units.
    has_matrices: bool,
}

fn vector(scalar: &str, width: usize) -> String {
    if width == 1 { scalar.to_owned() } else { format!("vec{width}<{scalar}>") }
}

impl Builder {
    /// A shader that computes with vectors of `width` elements as its type `V`.
    pub fn new(name: impl Into<String>, width: usize) -> Self {
        Self::with_output(name, width, width)
    }

    /// As [`Self::new`], with vectors of another width, `O`, for its output.
    pub fn with_output(name: impl Into<String>, width: usize, output: usize) -> Self {
        let mut code = String::new();
        for (value, bounded, width) in [("V", "bounded", width), ("O", "bounded_out", output)] {
            write!(
                code,
                "alias {value} = {};\n\
                 // NaN is neither below nor above, and so shows that a training diverges.\n\
                 fn {bounded}(v: {value}, low: f32, high: f32) -> {value} {{\n\
                 let l = {value}(low); let h = {value}(high);\n\
                 return select(select(v, l, v < l), h, v > h);\n}}\n",
                vector("f32", width)
            )
            .expect("a string takes all");
        }
        writeln!(code, "alias U = {};", vector("u32", width)).expect("a string takes all");
        let sum = if width == 1 { "v" } else { "v.x + v.y + v.z + v.w" };
        writeln!(code, "const WIDTH = {width}u;\nfn sum_of(v: V) -> f32 {{ return {sum}; }}")
            .expect("a string takes all");
        Self { name: name.into(), binds: Vec::new(), params: Vec::new(), code, has_matrices: false }
    }

    /// A buffer, with its functions `load_NAME(index)` and, unless it is read alone,
    /// `store_NAME(index, value)`.
    pub fn bind(
        mut self,
        name: &'static str,
        storage: Storage,
        width: usize,
        access: Access,
    ) -> Self {
        self.binds.push(Bind { name, storage, width, access });
        let (stored, loaded) = if width == 8 {
            assert!(storage == Storage::F16, "{name}: eight elements fill 16 bytes");
            ("Eight".to_owned(), "Eight".to_owned())
        } else {
            (vector(storage.scalar(), width), vector(storage.loaded(), width))
        };
        let number = self.binds.len();
        let mode = if access == Access::Read { "read" } else { "read_write" };
        writeln!(
            self.code,
            "@group(0) @binding({number}) var<storage, {mode}> b_{name}: array<{stored}>;\n\
             fn load_{name}(i: u32) -> {loaded} {{ return {}; }}",
            if width == 8 {
                format!("b_{name}[P.at_{name} + i]")
            } else {
                format!("{loaded}(b_{name}[P.at_{name} + i])")
            }
        )
        .expect("a string takes all");
        if access == Access::Write && width < 8 {
            writeln!(
                self.code,
                "fn store_{name}(i: u32, v: {loaded}) {{\n\
                 b_{name}[P.at_{name} + i] = {stored}(v);\n}}"
            )
            .expect("a string takes all");
        }
        self
    }

    /// Values of a pass.
    pub fn map(self, name: &'static str, storage: Storage, width: usize) -> Self {
        self.bind(name, storage, width, Access::Write)
    }

    /// Numbers of f32 that the shader only reads, outside the memory of passes.
    pub fn read(self, name: &'static str, width: usize) -> Self {
        self.bind(name, Storage::F32, width, Access::Read)
    }

    /// Whole numbers of a run or a table, outside the memory of passes.
    pub fn words(self, name: &'static str) -> Self {
        self.bind(name, Storage::U32, 1, Access::Read)
    }

    /// Parameters, `P.NAME`.
    pub fn params(mut self, names: &[&'static str]) -> Self {
        self.params.extend(names);
        self
    }

    /// The shader multiplies with matrix units.
    pub fn matrices(mut self) -> Self {
        self.has_matrices = true;
        self
    }

    /// Functions, constants and workgroup memory.
    pub fn code(mut self, code: &str) -> Self {
        self.code.push_str(code);
        self.code.push('\n');
        self
    }

    /// The shader, whose `main` has `threads` threads.
    pub fn main(self, threads: usize, body: &str) -> Arc<Shader> {
        let Self { name, binds, params, code, has_matrices } = self;
        let mut text = String::new();
        if has_matrices {
            text.push_str("enable wgpu_cooperative_matrix;\n");
        }
        let has_eights = code.contains("Eight");
        if has_eights || binds.iter().any(|bind| bind.storage == Storage::F16) {
            text.push_str("enable f16;\n");
        }
        if has_eights {
            text.push_str(EIGHT);
        }
        text.push_str("struct Params {\n");
        for bind in &binds {
            writeln!(text, "at_{}: u32,", bind.name).expect("a string takes all");
        }
        for param in &params {
            writeln!(text, "{param}: u32,").expect("a string takes all");
        }
        writeln!(
            text,
            "}}\n@group(0) @binding(0) var<uniform> P: Params;\n{code}\
             @compute @workgroup_size({threads})\n\
             fn main(@builtin(workgroup_id) wg: vec3<u32>,\n\
             @builtin(num_workgroups) nw: vec3<u32>,\n\
             @builtin(local_invocation_index) tid: u32) {{\n{body}\n}}"
        )
        .expect("a string takes all");
        Arc::new(Shader { name, text, binds, params })
    }

    /// The shader, of which a thread computes the value of each number `i` below `P.count`.
    pub fn each(self, body: &str) -> Arc<Shader> {
        let body = format!(
            "let i = (wg.y * nw.x + wg.x) * {THREADS}u + tid;\n\
             if (i >= P.count) {{ return; }}\n{body}"
        );
        self.params(&["count"]).main(THREADS, &body)
    }
}

/// The number of elements that a thread moves at a time if rows have `channels` elements.
pub(crate) fn width_of(channels: usize) -> usize {
    if channels.is_multiple_of(4) { 4 } else { 1 }
}

/// A function that combines a value of each of a workgroup's threads, whose number is a power of
/// two, in `shared_values`. All threads call it.
pub(crate) fn reduction(name: &str, combine: &str, threads: usize) -> String {
    format!(
        "fn {name}(tid: u32, value: f32) -> f32 {{
            workgroupBarrier();
            shared_values[tid] = value;
            workgroupBarrier();
            for (var half = {}u; half > 0u; half /= 2u) {{
                if (tid < half) {{
                    let a = shared_values[tid]; let b = shared_values[tid + half];
                    shared_values[tid] = {combine};
                }}
                workgroupBarrier();
            }}
            return shared_values[0];
        }}\n",
        threads / 2
    )
}
