//! A tile of a matrix product: `C[rows, columns] = sum over depth of A[row, depth] x B[column,
//! depth]`.

use super::side::{Product, Side, stride, vector};
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
    /// The tiles that there are.
    pub const ALL: [Self; 4] = [
        Self { rows: 32, columns: 64, depth: 32 },
        Self { rows: 64, columns: 64, depth: 16 },
        Self { rows: 128, columns: 64, depth: 16 },
        Self { rows: 128, columns: 128, depth: 8 },
    ];

    /// The tile for a product of `parts` parts, given the bytes of workgroup memory: the largest of
    /// which there are enough for a large device, but for those that are mostly padding.
    pub fn of(rows: usize, columns: usize, parts: usize, memory: usize) -> Self {
        /// Workgroups that a large device runs at once.
        const BUSY: usize = 264;
        let fits = |tile: &&Self| tile.bytes() <= memory;
        let cost = |tile: &Self| {
            let tiles = rows.div_ceil(tile.rows) * columns.div_ceil(tile.columns) * parts;
            // A thread's loads from workgroup memory delay its products.
            tiles.div_ceil(BUSY) * (tile.rows * tile.columns + 32 * (tile.rows + tile.columns))
        };
        *Self::ALL.iter().filter(fits).min_by_key(|tile| cost(tile)).unwrap_or(&Self::ALL[0])
    }

    /// Bytes of workgroup memory.
    pub fn bytes(self) -> usize {
        16 * self.depth * (stride(self.rows, 4) + stride(self.columns, 4))
    }
}

/// Columns of a tile that a row of 16 threads takes at once, four each.
const ACROSS: usize = 64;

/// The part of a product that a workgroup computes, as code: the numbers `rows`, `start` and `end`,
/// the last two of the depth, given the `part`.
pub(crate) const PARTS: &str =
    "let rows = P.rows; let start = part * P.length; let end = min(start + P.length, P.depth);";

/// The beginning of a product's shader.
pub(super) fn beginning(rows: usize, columns: usize, extent: &str) -> String {
    format!(
        "let tile = wg.y * nw.x + wg.x; let group = wg.z % P.groups; let part = wg.z / P.groups;\n\
         let left_first = (tile / P.across) * {rows}u;\n\
         let right_first = (tile % P.across) * {columns}u;\n{extent}\n\
         if (left_first >= rows) {{ return; }}\n"
    )
}

/// The function that stores a `value`, of `width` elements, at `row` and `column`, and the call
/// that gives it four elements of a row which begin at `column`.
pub(super) fn put(width: usize, store: &str, value: &str) -> (String, String) {
    let function = format!(
        "fn put(row: u32, column: u32, value: {}, group: u32, part: u32) {{\n{store}\n}}\n",
        vector(width)
    );
    let call = |offset: usize, value: &str| {
        format!(
            "if (column + {offset}u < P.columns) {{ \
             put(row, column + {offset}u, {value}, group, part); }}\n"
        )
    };
    let calls = match width {
        4 => call(0, value),
        _ => (0..4).map(|element| call(element, &format!("{value}[{element}]"))).collect(),
    };
    (function, calls)
}

/// A shader of a product.
pub(crate) fn shader(builder: Builder, tile: Tile, product: &Product<'_>) -> Arc<Shader> {
    let Product { left, right, width, extent, store } = product;
    let width = *width;
    let Tile { rows, columns, depth } = tile;
    let threads = THREADS;
    let left = Side { name: "left", operand: left, rows, depth, threads };
    let right = Side { name: "right", operand: right, rows: columns, depth, threads };
    let (own_rows, own_columns) = (rows / 16, columns / ACROSS);
    let mut body = format!(
        "{}let tx = tid % 16u; let ty = tid / 16u;\n{}{}",
        beginning(rows, columns, extent),
        left.setup("rows"),
        right.setup("P.columns")
    );
    for row in 0..own_rows {
        for column in 0..own_columns {
            writeln!(body, "var sum{row}_{column} = vec4<f32>();").expect("a string takes all");
        }
    }
    write!(
        body,
        "{}{}for (var now = start; now < end; now += {depth}u) {{\n{}{}workgroupBarrier();\n\
         if (now + {depth}u < end) {{\nlet next = now + {depth}u;\n{}{}}}\n\
         for (var k = 0u; k < {depth}u; k++) {{\n\
         let from_left = k * {}u + ty * {own_rows}u / 4u; let from_right = k * {}u + tx;\n",
        left.load("start"),
        right.load("start"),
        left.store("now"),
        right.store("now"),
        left.load("next"),
        right.load("next"),
        left.stride(),
        right.stride()
    )
    .expect("a string takes all");
    for column in 0..own_columns {
        writeln!(body, "let b{column} = right_tile[from_right + {}u];", column * ACROSS / 4)
            .expect("a string takes all");
    }
    for vector in 0..own_rows.div_ceil(4) {
        writeln!(body, "let l{vector} = left_tile[from_left + {vector}u];")
            .expect("a string takes all");
    }
    for row in 0..own_rows {
        let element = match own_rows {
            2 => format!("(ty % 2u) * 2u + {row}u"),
            _ => format!("{}", row % 4),
        };
        writeln!(body, "let a{row} = vec4<f32>(l{}[{element}]);", row / 4)
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
                 let column = right_first + {}u + tx * 4u;\n\
                 if (row < rows) {{\n{}}} }}",
                column * ACROSS,
                put(width, store, &format!("sum{row}_{column}")).1
            )
            .expect("a string takes all");
        }
    }
    let functions = format!("{}{}{}", left.functions(), right.functions(), put(width, store, "").0);
    builder
        .params(&["rows", "columns", "depth", "length", "across"])
        .code(&functions)
        .main(threads, &body)
}

/// The size of a product, and how it is dispatched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// Pieces of the depth, or of the rows.
    pub parts: usize,
    /// Terms of each piece of the depth.
    pub length: usize,
    pub groups: usize,
}

/// Adds a dispatch of a product. The groups are among the parameters.
pub(crate) fn record(
    recorder: &mut Recorder,
    shader: Arc<Shader>,
    [tile_rows, tile_columns]: [usize; 2],
    size: Size,
    slices: &[(&str, Slice)],
    mut params: Vec<(&str, u32)>,
) {
    let Size { rows, columns, depth, parts, length, groups } = size;
    let across = columns.div_ceil(tile_columns);
    params.extend([
        ("rows", number(rows)),
        ("columns", number(columns)),
        ("depth", number(depth)),
        ("length", number(length)),
        ("across", number(across)),
    ]);
    let [x, y, _] = flat(rows.div_ceil(tile_rows) * across);
    recorder.dispatch(shader, slices, &params, [x, y, parts * groups]);
}
