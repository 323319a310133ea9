//! One operand of a tiled product: which vectors each thread loads, and where it puts them in
//! workgroup memory.

use std::fmt::Write;

/// Along which side of an operand neighbouring elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Major {
    Depth,
    Row,
}

/// How an operand is loaded. The codes below are given `group`, and the prepared value as `own`.
pub(crate) struct Operand<'a> {
    pub major: Major,
    /// Elements that are loaded together: 1 or 4 in f32, or 8 halves.
    pub width: usize,
    /// The type and the value that a thread makes of a `row` once.
    pub prepared: (&'a str, &'a str),
    /// Code that returns the place of the vector at `depth`, or a number below 0 for zeros.
    pub at: &'a str,
    /// Code that returns the vector at the place `at`, as it is in memory. Its loads are not waited
    /// for before the products of the vectors before have been added.
    pub load: &'a str,
    /// Code that returns the operand's value of a vector `v` at `depth`.
    pub value: &'a str,
}

/// A product of two operands, as code.
pub(crate) struct Product<'a> {
    pub left: Operand<'a>,
    pub right: Operand<'a>,
    /// Elements of a row that are stored together.
    pub width: usize,
    /// The part of the product that a workgroup computes: see [`super::tile::PARTS`].
    pub extent: &'a str,
    /// Code that writes `value`, of `width` elements, at `row` and `column`, given `group` and the
    /// `part` of the sum.
    pub store: &'a str,
}

/// The type of a vector of `width` elements: numbers of f32, or eight halves.
pub(crate) fn vector(width: usize) -> &'static str {
    match width {
        1 => "f32",
        8 => "Eight",
        _ => "vec4<f32>",
    }
}

/// Bytes between two lines of a tile, so that they lie in different banks.
const PADDING: usize = 16;

/// One operand's part of a shader.
pub(super) struct Side<'a> {
    pub name: &'static str,
    pub operand: &'a Operand<'a>,
    /// Rows of the tile.
    pub rows: usize,
    pub depth: usize,
    /// Threads of the workgroup.
    pub threads: usize,
}

/// Vectors of four elements in a line of `length` elements of `bytes` bytes in workgroup memory.
pub(super) fn stride(length: usize, bytes: usize) -> usize {
    (length + PADDING / bytes) / 4
}

impl Side<'_> {
    /// Whether elements are halves, which lie in workgroup memory in the order in which they are
    /// loaded. Numbers of f32 lie there as `[depth, row]`.
    fn is_packed(&self) -> bool {
        self.operand.width == 8
    }

    /// Vectors of four elements of a line in workgroup memory.
    pub fn stride(&self) -> usize {
        match (self.is_packed(), self.operand.major) {
            (false, _) => stride(self.rows, 4),
            (true, Major::Depth) => stride(self.depth, 2),
            (true, Major::Row) => stride(self.rows, 2),
        }
    }

    /// Vectors of four elements in workgroup memory.
    pub fn length(&self) -> usize {
        let lines = match (self.is_packed(), self.operand.major) {
            (true, Major::Depth) => self.rows,
            _ => self.depth,
        };
        lines * self.stride()
    }

    /// Vectors that a thread loads.
    fn slots(&self) -> usize {
        let vectors = self.rows * self.depth / self.operand.width;
        assert!(vectors.is_multiple_of(self.threads), "all threads load alike");
        vectors / self.threads
    }

    /// Vectors side by side.
    fn across(&self) -> usize {
        let length = if self.operand.major == Major::Depth { self.depth } else { self.rows };
        length / self.operand.width
    }

    fn down(&self) -> usize {
        self.threads / self.across()
    }

    /// The tile in workgroup memory, and the functions that load it.
    pub fn functions(&self) -> String {
        let Self { name, operand, .. } = self;
        let (kind, value) = operand.prepared;
        let element = if self.is_packed() { "f16" } else { "f32" };
        format!(
            "var<workgroup> {name}_tile: array<vec4<{element}>, {}>;\n\
             fn {name}_own(row: u32) -> {kind} {{ return {value}; }}\n\
             fn {name}_at(own: {kind}, depth: u32, group: u32) -> i32 {{\n{}\n}}\n\
             fn {name}_load(own: {kind}, depth: u32, group: u32, at: u32) -> {vector} {{\n{}\n}}\n\
             fn {name}_value(v: {vector}, own: {kind}, depth: u32, group: u32) -> {vector} \
             {{\n{}\n}}\n",
            self.length(),
            operand.at,
            operand.load,
            operand.value,
            vector = vector(operand.width)
        )
    }

    /// The values that a thread computes once, before the first load. `limit` is the number of rows
    /// of the whole operand.
    pub fn setup(&self, limit: &str) -> String {
        let Self { name, operand, .. } = self;
        let (across, down, width) = (self.across(), self.down(), operand.width);
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
                 let {name}_in{slot} = {name}_row{slot} < {limit};\n\
                 let {name}_own{slot} = {name}_own(min({name}_row{slot}, {limit} - 1u));"
            )
            .expect("a string takes all");
        }
        for slot in 0..self.slots() {
            writeln!(
                text,
                "var {name}_v{slot} = {}(); var {name}_has{slot} = false;",
                vector(width)
            )
            .expect("a string takes all");
        }
        text
    }

    /// The row that a thread's vector belongs to, and its distance in depth.
    fn slot(&self, slot: usize) -> (usize, String) {
        let name = self.name;
        match self.operand.major {
            Major::Depth => (slot, format!("{name}_across")),
            Major::Row => (0, format!("{name}_down + {}u", slot * self.down())),
        }
    }

    /// Loads the vectors of the depths from `{depth}` on.
    pub fn load(&self, depth: &str) -> String {
        let name = self.name;
        let mut text = String::new();
        for slot in 0..self.slots() {
            let (row, offset) = self.slot(slot);
            writeln!(
                text,
                "{{ let here = {depth} + {offset}; let depth = min(here, P.depth - 1u);\n\
                 let at = select(-1, {name}_at({name}_own{row}, depth, group), \
                 {name}_in{row} && here < end);\n\
                 {name}_v{slot} = {name}_load({name}_own{row}, depth, group, u32(max(at, 0)));\n\
                 {name}_has{slot} = at >= 0; }}"
            )
            .expect("a string takes all");
        }
        text
    }

    /// Puts the vectors that were loaded for the depths from `{depth}` on into workgroup memory.
    pub fn store(&self, depth: &str) -> String {
        let Self { name, operand, .. } = self;
        let (down, stride) = (self.down(), self.stride());
        let mut text = String::new();
        for slot in 0..self.slots() {
            let line = format!("({name}_down + {}u)", slot * down);
            let (row, offset) = self.slot(slot);
            write!(
                text,
                "{{ let depth = min({depth} + {offset}, P.depth - 1u);\n\
                 let value = {name}_value({name}_v{slot}, {name}_own{row}, depth, group);\n\
                 let has = {name}_has{slot};\n"
            )
            .expect("a string takes all");
            if operand.width == 1 || (operand.width == 4 && operand.major == Major::Depth) {
                for element in 0..operand.width {
                    let (depth, row) = match operand.major {
                        Major::Depth => (format!("({name}_across + {element}u)"), line.clone()),
                        Major::Row => (line.clone(), format!("{name}_across")),
                    };
                    let part =
                        if operand.width == 1 { String::new() } else { format!("[{element}]") };
                    writeln!(
                        text,
                        "{name}_tile[{depth} * {stride}u + {row} / 4u][{row} % 4u] = \
                         select(0.0, value{part}, has);"
                    )
                    .expect("a string takes all");
                }
            } else {
                let at = format!("{line} * {stride}u + {name}_across / 4u");
                if operand.width == 8 {
                    writeln!(
                        text,
                        "{name}_tile[{at}] = select(vec4<f16>(), value.lo, has); \
                         {name}_tile[{at} + 1u] = select(vec4<f16>(), value.hi, has);"
                    )
                } else {
                    writeln!(text, "{name}_tile[{at}] = select(vec4<f32>(), value, has);")
                }
                .expect("a string takes all");
            }
            text.push_str("}\n");
        }
        text
    }
}
