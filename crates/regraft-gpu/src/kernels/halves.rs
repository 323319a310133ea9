//! The copy of the learned tensors as halves, which matrix units multiply.

use crate::record::{Buffer, Recorder, Slice};
use crate::shader::{Access, Builder, Storage};

/// Copies the first `length` elements of the arena of learned tensors, a multiple of four.
pub(crate) fn copy(recorder: &mut Recorder, length: usize) {
    let shader = Builder::new("halves", 4)
        .read("values", 4)
        .bind("halves", Storage::F16, 4, Access::Write)
        .each("store_halves(i, load_values(i));");
    let values = Slice::words(Buffer::Learned, 0, length);
    let halves = Slice { buffer: Buffer::Halves, start: 0, bytes: 2 * length as u64 };
    recorder.each(shader, &[("values", values), ("halves", halves)], &[], length / 4);
}
