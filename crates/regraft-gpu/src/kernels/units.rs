//! A tile of a matrix product of halves, with sums in f32, on matrix units.
//!
//! A workgroup copies pieces of both operands into its memory; each of its subgroups multiplies its
//! part of the tile as square fragments. The sums of a product are added up in the order of the
//! depth, whatever the tile.

use super::side::{Major, Product, Side, stride};
use super::tile::{beginning, put};
use crate::shader::{Builder, Shader};
use std::fmt::Write;
use std::sync::Arc;

/// Threads of a subgroup. Devices whose subgroups have another size use the plain products.
pub(crate) const SUBGROUP: usize = 32;

/// The matrix units of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// Rows, columns and depth of a fragment.
    pub fragment: usize,
    /// Whether fragments are multiplied by ordinary arithmetic, so that everything around them can
    /// be tested without matrix units.
    pub is_emulated: bool,
    /// Bytes of workgroup memory at most.
    pub memory: usize,
    /// The tile of every product, for tests; otherwise it follows from the product's size.
    pub tile: Option<Tile>,
}

/// The shape of a workgroup's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub rows: usize,
    pub columns: usize,
    /// Products that are summed up between two loads.
    pub depth: usize,
    /// Subgroups along the rows and the columns.
    pub subgroups: [usize; 2],
}

const fn tile(rows: usize, columns: usize, depth: usize, subgroups: [usize; 2]) -> Tile {
    Tile { rows, columns, depth, subgroups }
}

impl Tile {
    /// The tiles that there are, of which the last needs the least memory.
    pub const ALL: [Self; 6] = [
        tile(128, 128, 32, [2, 4]),
        tile(256, 64, 32, [4, 2]),
        tile(64, 128, 64, [2, 4]),
        tile(128, 64, 32, [2, 2]),
        tile(64, 64, 32, [2, 2]),
        tile(64, 32, 32, [2, 1]),
    ];

    pub fn threads(self) -> usize {
        self.subgroups[0] * self.subgroups[1] * SUBGROUP
    }

    /// Rows and columns of a subgroup.
    fn own(self) -> [usize; 2] {
        [self.rows / self.subgroups[0], self.columns / self.subgroups[1]]
    }

    /// Vectors of four between two rows of the sums in workgroup memory.
    fn sums_stride(self) -> usize {
        stride(self.own()[1], 4)
    }

    /// Bytes of workgroup memory, whatever the operands' major sides.
    fn bytes(self, fragment: usize) -> usize {
        let operand =
            |rows: usize| (rows * stride(self.depth, 2)).max(self.depth * stride(rows, 2)) * 8;
        let sums = self.subgroups[0] * self.subgroups[1] * fragment * self.sums_stride() * 16;
        operand(self.rows) + operand(self.columns) + sums
    }
}

impl Units {
    /// The tile for a product. The rules follow the fastest tiles for the products of ResNet-18 and
    /// EfficientNet-Lite0 on an H100.
    pub fn tile(&self, rows: usize, columns: usize, depth: usize) -> Tile {
        if let Some(tile) = self.tile {
            return tile;
        }
        let [square, tall, wide, narrow, small, least] = Tile::ALL;
        let choice = match (rows > 64, columns > 64) {
            // Small products wait for memory, so that padding costs more than it saves.
            (true, true) if depth < 64 && !columns.next_multiple_of(64).is_multiple_of(128) => {
                narrow
            }
            (true, true) => square,
            (true, false) if depth >= 256 && rows >= 1 << 15 => tall,
            (true, false) => narrow,
            (false, true) if rows < 64 && columns <= 256 => wide,
            (false, _) => small,
        };
        let fits = |tile: &Tile| tile.bytes(self.fragment) <= self.memory;
        [choice, narrow, small].into_iter().find(fits).unwrap_or(least)
    }
}

/// A shader of a product with operands of halves.
pub(crate) fn shader(
    builder: Builder,
    units: Units,
    tile: Tile,
    product: &Product<'_>,
) -> Arc<Shader> {
    let Product { left, right, width, extent, store } = product;
    let width = *width;
    let Tile { rows, columns, depth, subgroups: [_, across] } = tile;
    let threads = tile.threads();
    let left = Side { name: "left", operand: left, rows, depth, threads };
    let right = Side { name: "right", operand: right, rows: columns, depth, threads };
    let [own_rows, own_columns] = tile.own();
    let fragment = units.fragment;
    let fragments = [own_rows / fragment, own_columns / fragment];
    let mut body = format!(
        "{}let subgroup = tid / {SUBGROUP}u; let lane = tid % {SUBGROUP}u;\n\
         let first_row = subgroup / {across}u * {own_rows}u;\n\
         let first_column = subgroup % {across}u * {own_columns}u;\n{}{}",
        beginning(rows, columns, extent),
        left.setup("rows"),
        right.setup("P.columns")
    );
    let inner = if units.is_emulated { Inner::Plain } else { Inner::Units };
    body.push_str(&inner.sums(fragment, fragments));
    write!(
        body,
        "{}{}for (var now = start; now < end; now += {depth}u) {{\n{}{}workgroupBarrier();\n\
         if (now + {depth}u < end) {{\nlet next = now + {depth}u;\n{}{}}}\n{}\
         workgroupBarrier();\n}}\n",
        left.load("start"),
        right.load("start"),
        left.store("now"),
        right.store("now"),
        left.load("next"),
        right.load("next"),
        inner.products(fragment, fragments, &left, &right)
    )
    .expect("a string takes all");
    // The sums pass through workgroup memory, a row of fragments at a time.
    let (stride, vectors) = (tile.sums_stride(), own_columns / 4);
    writeln!(body, "let own_sums = subgroup * {}u;", fragment * stride)
        .expect("a string takes all");
    for row in 0..fragments[0] {
        write!(
            body,
            "workgroupBarrier();\n{}workgroupBarrier();\n\
             for (var e = lane; e < {}u; e += {SUBGROUP}u) {{\n\
             let line = e / {vectors}u; let place = e % {vectors}u;\n\
             let row = left_first + first_row + {}u + line;\n\
             let column = right_first + first_column + place * 4u;\n\
             if (row < rows) {{\nlet sum = sums_tile[own_sums + line * {stride}u + place];\n{}}}\n\
             }}\n",
            inner.store(fragment, fragments, row, stride),
            fragment * vectors,
            row * fragment,
            put(width, store, "sum").1
        )
        .expect("a string takes all");
    }
    let sums = threads / SUBGROUP * fragment * stride;
    let functions = format!(
        "{}{}var<workgroup> sums_tile: array<vec4<f32>, {sums}>;\n{}",
        left.functions(),
        right.functions(),
        put(width, store, "").0
    );
    let builder = if units.is_emulated { builder } else { builder.matrices() };
    builder
        .params(&["rows", "columns", "depth", "length", "across"])
        .code(&functions)
        .main(threads, &body)
}

/// How fragments are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    Units,
    /// Each thread computes neighbouring elements of a fragment.
    Plain,
}

impl Inner {
    /// The sums of a subgroup, which begin as zero.
    fn sums(self, fragment: usize, [rows, columns]: [usize; 2]) -> String {
        if self == Self::Plain {
            let length = rows * columns * fragment * fragment / SUBGROUP;
            return format!("var sums: array<f32, {length}>;\n");
        }
        let mut text = String::new();
        for row in 0..rows {
            for column in 0..columns {
                writeln!(text, "var c{row}_{column} = coop_mat{fragment}x{fragment}<f32, C>();")
                    .expect("a string takes all");
            }
        }
        text
    }

    /// Adds the products of the tiles in workgroup memory.
    fn products(
        self,
        fragment: usize,
        [rows, columns]: [usize; 2],
        left: &Side<'_>,
        right: &Side<'_>,
    ) -> String {
        let mut text = String::new();
        let is_row = [left, right].map(|side| side.operand.major == Major::Row);
        let strides = [left.stride(), right.stride()];
        if self == Self::Plain {
            let element = |side: usize, name: &str, row: &str| {
                let stride = strides[side];
                let (line, place) = if is_row[side] { ("k", row) } else { (row, "k") };
                format!("f32({name}_tile[{line} * {stride}u + {place} / 4u][{place} % 4u])")
            };
            let own = fragment * fragment / SUBGROUP;
            write!(
                text,
                "for (var n = 0u; n < {}u; n++) {{\nlet f = n / {own}u; \
                 let e = lane * {own}u + n % {own}u;\n\
                 let r = first_row + f / {columns}u * {fragment}u + e / {fragment}u;\n\
                 let c = first_column + f % {columns}u * {fragment}u + e % {fragment}u;\n\
                 for (var k = 0u; k < {}u; k++) {{ sums[n] = fma({}, {}, sums[n]); }}\n}}\n",
                rows * columns * own,
                left.depth,
                element(0, "left", "r"),
                element(1, "right", "c")
            )
            .expect("a string takes all");
            return text;
        }
        // Fragments of the left operand have rows, those of the right one columns.
        let load = |side: usize, name: &str, role: &str, first: &str, far: usize, step: usize| {
            let stride = strides[side];
            let at = if is_row[side] {
                format!("{}u + ({first} + {far}u) / 4u", step * stride)
            } else {
                format!("({first} + {far}u) * {stride}u + {}u", step / 4)
            };
            // Neighbours in memory are neighbours in depth, or not.
            let turned = if is_row[side] == (role == "B") { "T" } else { "" };
            format!(
                "coopLoad{turned}<coop_mat{fragment}x{fragment}<f16, {role}>>(\
                 &{name}_tile[{at}], {stride}u)"
            )
        };
        for step in (0..left.depth).step_by(fragment) {
            text.push_str("{\n");
            for row in 0..rows {
                let from = load(0, "left", "A", "first_row", row * fragment, step);
                writeln!(text, "let a{row} = {from};").expect("a string takes all");
            }
            for column in 0..columns {
                let from = load(1, "right", "B", "first_column", column * fragment, step);
                writeln!(text, "let b{column} = {from};").expect("a string takes all");
                for row in 0..rows {
                    writeln!(
                        text,
                        "c{row}_{column} = coopMultiplyAdd(a{row}, b{column}, c{row}_{column});"
                    )
                    .expect("a string takes all");
                }
            }
            text.push_str("}\n");
        }
        text
    }

    /// Puts a row of fragments of sums into workgroup memory.
    fn store(self, fragment: usize, [_, columns]: [usize; 2], row: usize, stride: usize) -> String {
        if self == Self::Plain {
            let own = fragment * fragment / SUBGROUP;
            return format!(
                "for (var n = 0u; n < {}u; n++) {{\nlet e = lane * {own}u + n % {own}u;\n\
                 let c = n / {own}u * {fragment}u + e % {fragment}u;\n\
                 sums_tile[own_sums + e / {fragment}u * {stride}u + c / 4u][c % 4u] = \
                 sums[{}u + n];\n}}\n",
                columns * own,
                row * columns * own
            );
        }
        (0..columns)
            .map(|column| {
                format!(
                    "coopStoreT(c{row}_{column}, &sums_tile[own_sums + {}u], {stride}u);\n",
                    column * fragment / 4
                )
            })
            .collect()
    }
}
