//! A tile of a matrix product: `C[rows, columns] = sum over depth of A[row, depth] x B[column,
//! depth]`.

use crate::record::{Recorder, Slice, flat, number};
use crate::shader::{Builder, Shader, THREADS};
use std::fmt::Write;
use std::sync::Arc;

/// The shape of a workgroup's tile. Each of [`THREADS`] threads computes `rows / 16 x columns / 16`
/// elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub rows: usize,
    pub columns: usize,
    /// Products that are summed up between two loads.
    pub depth: usize,
}

impl Tile {
    /// The tiles that there are: the last is for large products.
    pub const ALL: [Self; 3] = [
        Self { rows: 32, columns: 64, depth: 32 },
        Self { rows: 64, columns: 64, depth: 16 },
        Self { rows: 128, columns: 64, depth: 16 },
    ];

    /// The tile for a device with that much memory for a workgroup: the second, if it fits. There
    /// is no choice by measurement yet.
    pub fn within(bytes: usize) -> Self {
        if Self::ALL[1].bytes() <= bytes { Self::ALL[1] } else { Self::ALL[0] }
    }

    /// Bytes of workgroup memory.
    pub fn bytes(self) -> usize {
        4 * self.depth * (self.rows + self.columns + 2 * PADDING)
    }
}

/// Elements between two rows of a tile in workgroup memory, so that they lie in different banks.
const PADDING: usize = 4;

/// Along which side of an operand neighbouring elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Major {
    Depth,
    Row,
}

/// How an operand is loaded.
pub(crate) struct Operand<'a> {
    pub major: Major,
    /// Elements that are loaded together.
    pub width: usize,
    /// The type and the value that a thread makes of a `row` once.
    pub prepared: (&'a str, &'a str),
    /// Code that returns the vector at `depth`, given the prepared value as `own`, and `group`.
    pub load: &'a str,
}

/// The type of a vector of `width` elements.
pub(crate) fn vector(width: usize) -> &'static str {
    if width == 1 { "f32" } else { "vec4<f32>" }
}

/// One operand's part of a shader.
struct Side<'a> {
    name: &'static str,
    operand: &'a Operand<'a>,
    /// Rows of the tile, and the parameter that tells how many there are in all.
    rows: usize,
    limit: &'static str,
    depth: usize,
}

impl Side<'_> {
    fn stride(&self) -> usize {
        self.rows + PADDING
    }

    /// Vectors that a thread loads.
    fn slots(&self) -> usize {
        let vectors = self.rows * self.depth / self.operand.width;
        assert!(vectors.is_multiple_of(THREADS), "all threads load alike");
        vectors / THREADS
    }

    /// Vectors side by side.
    fn across(&self) -> usize {
        let length = if self.operand.major == Major::Depth { self.depth } else { self.rows };
        length / self.operand.width
    }

    fn functions(&self) -> String {
        let Self { name, operand, .. } = self;
        let (kind, value) = operand.prepared;
        let vector = vector(operand.width);
        format!(
            "var<workgroup> {name}_tile: array<f32, {}>;\n\
             fn {name}_own(row: u32) -> {kind} {{ return {value}; }}\n\
             fn {name}_load(own: {kind}, depth: u32, group: u32) -> {vector} {{\n{}\n}}\n",
            self.depth * self.stride(),
            operand.load
        )
    }

    /// The values that a thread computes once, before the first load.
    fn setup(&self) -> String {
        let Self { name, operand, limit, .. } = self;
        let (across, width) = (self.across(), operand.width);
        let down = THREADS / across;
        let mut text = format!(
            "let {name}_across = (tid % {across}u) * {width}u; let {name}_down = tid / {across}u;\n"
        );
        for slot in 0..self.slots() {
            let row = match operand.major {
                Major::Depth => format!("{name}_down + {}u", slot * down),
                Major::Row if slot == 0 => format!("{name}_across"),
                Major::Row => continue,
            };
            writeln!(
                text,
                "let {name}_row{slot} = {name}_first + {row};\n\
                 let {name}_in{slot} = {name}_row{slot} < P.{limit};\n\
                 let {name}_own{slot} = {name}_own({name}_row{slot});"
            )
            .expect("a string takes all");
        }
        for slot in 0..self.slots() {
            writeln!(text, "var {name}_v{slot} = {}(0.0);", vector(width))
                .expect("a string takes all");
        }
        text
    }

    /// Loads the vectors of the depths from `{depth}` on.
    fn load(&self, depth: &str) -> String {
        let Self { name, operand, .. } = self;
        let down = THREADS / self.across();
        let mut text = String::new();
        for slot in 0..self.slots() {
            let (row, offset) = match operand.major {
                Major::Depth => (slot, format!("{name}_across")),
                Major::Row => (0, format!("{name}_down + {}u", slot * down)),
            };
            writeln!(
                text,
                "{name}_v{slot} = {vector}(0.0);\n\
                 if ({name}_in{row} && {depth} + {offset} < end) {{ \
                 {name}_v{slot} = {name}_load({name}_own{row}, {depth} + {offset}, group); }}",
                vector = vector(operand.width)
            )
            .expect("a string takes all");
        }
        text
    }

    /// Puts the loaded vectors into workgroup memory, `[depth, row]`.
    fn store(&self) -> String {
        let Self { name, operand, .. } = self;
        let (down, stride) = (THREADS / self.across(), self.stride());
        let mut text = String::new();
        for slot in 0..self.slots() {
            let far = slot * down;
            for element in 0..operand.width {
                let at = match operand.major {
                    Major::Depth => {
                        format!("({name}_across + {element}u) * {stride}u + {name}_down + {far}u")
                    }
                    Major::Row => {
                        format!("({name}_down + {far}u) * {stride}u + {name}_across + {element}u")
                    }
                };
                let part = if operand.width == 1 { String::new() } else { format!("[{element}]") };
                writeln!(text, "{name}_tile[{at}] = {name}_v{slot}{part};")
                    .expect("a string takes all");
            }
        }
        text
    }
}

/// Columns of a tile that a row of 16 threads takes at once, four each.
const ACROSS: usize = 64;

/// A shader of a product. `store` writes `value`, of `width` elements, at `row` and `column`, given
/// `group` and the `part` of the sum.
pub(crate) fn shader(
    builder: Builder,
    tile: Tile,
    left: &Operand<'_>,
    right: &Operand<'_>,
    width: usize,
    store: &str,
) -> Arc<Shader> {
    let Tile { rows, columns, depth } = tile;
    let left = Side { name: "left", operand: left, rows, limit: "rows", depth };
    let right = Side { name: "right", operand: right, rows: columns, limit: "columns", depth };
    let (own_rows, own_columns) = (rows / 16, columns / ACROSS);
    let mut body = format!(
        "let tile = wg.y * nw.x + wg.x; let group = wg.z % P.groups; let part = wg.z / P.groups;\n\
         let left_first = (tile / P.across) * {rows}u;\n\
         let right_first = (tile % P.across) * {columns}u;\n\
         if (left_first >= P.rows) {{ return; }}\n\
         let start = part * P.length; let end = min(start + P.length, P.depth);\n\
         let tx = tid % 16u; let ty = tid / 16u;\n{}{}",
        left.setup(),
        right.setup()
    );
    for row in 0..own_rows {
        for column in 0..own_columns {
            writeln!(body, "var sum{row}_{column} = vec4<f32>();").expect("a string takes all");
        }
    }
    write!(
        body,
        "{}{}for (var at = start; at < end; at += {depth}u) {{\n{}{}workgroupBarrier();\n\
         if (at + {depth}u < end) {{\nlet next = at + {depth}u;\n{}{}}}\n\
         for (var k = 0u; k < {depth}u; k++) {{\n\
         let from_left = k * {}u + ty * {own_rows}u; let from_right = k * {}u + tx * 4u;\n",
        left.load("start"),
        right.load("start"),
        left.store(),
        right.store(),
        left.load("next"),
        right.load("next"),
        left.stride(),
        right.stride()
    )
    .expect("a string takes all");
    for column in 0..own_columns {
        let at =
            |element: usize| format!("right_tile[from_right + {}u]", column * ACROSS + element);
        writeln!(body, "let b{column} = vec4<f32>({}, {}, {}, {});", at(0), at(1), at(2), at(3))
            .expect("a string takes all");
    }
    for row in 0..own_rows {
        writeln!(body, "let a{row} = vec4<f32>(left_tile[from_left + {row}u]);")
            .expect("a string takes all");
        for column in 0..own_columns {
            writeln!(body, "sum{row}_{column} = fma(a{row}, b{column}, sum{row}_{column});")
                .expect("a string takes all");
        }
    }
    body.push_str("}\nworkgroupBarrier();\n}\n");
    for row in 0..own_rows {
        for column in 0..own_columns {
            writeln!(
                body,
                "{{ let row = left_first + ty * {own_rows}u + {row}u;\n\
                 let column = right_first + {}u + tx * 4u;\nif (row < P.rows) {{",
                column * ACROSS
            )
            .expect("a string takes all");
            let call = |offset: usize, value: &str| {
                format!(
                    "if (column + {offset}u < P.columns) {{ \
                     put(row, column + {offset}u, {value}, group, part); }}\n"
                )
            };
            let sum = format!("sum{row}_{column}");
            if width == 4 {
                body.push_str(&call(0, &sum));
            } else {
                (0..4).for_each(|element| {
                    body.push_str(&call(element, &format!("{sum}[{element}]")))
                });
            }
            body.push_str("} }\n");
        }
    }
    let functions = format!(
        "{}{}fn put(row: u32, column: u32, value: {}, group: u32, part: u32) {{\n{store}\n}}\n",
        left.functions(),
        right.functions(),
        vector(width)
    );
    builder
        .params(&["rows", "columns", "depth", "length", "across"])
        .code(&functions)
        .main(THREADS, &body)
}

/// Adds a dispatch of a product of the given rows, columns and depth. The depth is cut into `parts`
/// of `length` terms. The groups are among the parameters.
pub(crate) fn record(
    recorder: &mut Recorder,
    shader: Arc<Shader>,
    tile: Tile,
    [rows, columns, depth]: [usize; 3],
    [parts, length]: [usize; 2],
    slices: &[(&str, Slice)],
    mut params: Vec<(&str, u32)>,
) {
    let across = columns.div_ceil(tile.columns);
    params.extend([
        ("rows", number(rows)),
        ("columns", number(columns)),
        ("depth", number(depth)),
        ("length", number(length)),
        ("across", number(across)),
    ]);
    let groups = params.iter().find(|(name, _)| *name == "groups").map_or(1, |(_, groups)| *groups);
    let [x, y, _] = flat(rows.div_ceil(tile.rows) * across);
    recorder.dispatch(shader, slices, &params, [x, y, parts * groups as usize]);
}
