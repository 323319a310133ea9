//! Operations of MPI that return at once. Each owns the memory that it reads and writes.

use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::SimpleCommunicator;
use regraft_base::share::Share;
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;

/// The most elements of an operation, so that counts and offsets fit into an `int` of C.
pub const MOST: usize = c_int::MAX as usize;

/// An operation in progress.
pub struct Operation {
    request: ffi::MPI_Request,
    /// Not freed before the operation is complete.
    memory: ManuallyDrop<Memory>,
    is_complete: bool,
}

#[derive(Default)]
struct Memory {
    send: Vec<f32>,
    receive: Vec<f32>,
    /// Counts and offsets of each rank's elements that are sent, then of those that are received.
    layout: [Vec<c_int>; 4],
}

/// Counts and offsets of consecutive ranges.
fn layout(lengths: impl Iterator<Item = usize>) -> [Vec<c_int>; 2] {
    let (mut counts, mut offsets, mut end) = (Vec::new(), Vec::new(), 0);
    for length in lengths {
        // Whoever begins an operation keeps its length below `MOST`.
        counts.push(length as c_int);
        offsets.push(end);
        end += length as c_int;
    }
    [counts, offsets]
}

impl Operation {
    /// `start` begins the operation and writes its request.
    fn begin(
        memory: Memory,
        start: impl FnOnce(&mut Memory, *mut ffi::MPI_Request) -> c_int,
    ) -> Self {
        let mut memory = ManuallyDrop::new(memory);
        // SAFETY: a constant of the library, initialised before any communicator exists.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        check(start(&mut memory, &raw mut request));
        Self { request, memory, is_complete: false }
    }

    /// Sends each rank its part of `values`, and receives this rank's part of the values of all.
    pub fn exchange_parts(
        ranks: &SimpleCommunicator,
        share: Share,
        values: Vec<f32>,
        receive: Vec<f32>,
    ) -> Self {
        let size = share.size;
        let own = share.of(values.len()).len();
        let [send_counts, send_offsets] =
            layout(Share::all(size).map(|other| other.of(values.len()).len()));
        let [receive_counts, receive_offsets] = layout((0..size).map(|_| own));
        let memory = Memory {
            receive: resized(receive, own * size),
            send: values,
            layout: [send_counts, send_offsets, receive_counts, receive_offsets],
        };
        Self::begin(memory, |Memory { send, receive, layout }, request| {
            let [send_counts, send_offsets, receive_counts, receive_offsets] = layout;
            // SAFETY: counts and offsets lie within `send` and `receive`, and all lists have an
            // entry for each rank. The operation owns them, moves no element and frees nothing
            // before it is complete.
            unsafe {
                ffi::MPI_Ialltoallv(
                    send.as_ptr().cast::<c_void>(),
                    send_counts.as_ptr(),
                    send_offsets.as_ptr(),
                    ffi::RSMPI_FLOAT,
                    receive.as_mut_ptr().cast::<c_void>(),
                    receive_counts.as_ptr(),
                    receive_offsets.as_ptr(),
                    ffi::RSMPI_FLOAT,
                    ranks.as_raw(),
                    request,
                )
            }
        })
    }

    /// Gives this rank's part, `own`, to all, and receives the parts of all: `length` values.
    pub fn join_parts(
        ranks: &SimpleCommunicator,
        size: usize,
        own: Vec<f32>,
        length: usize,
        receive: Vec<f32>,
    ) -> Self {
        let [counts, offsets] = layout(Share::all(size).map(|rank| rank.of(length).len()));
        let memory = Memory {
            send: own,
            receive: resized(receive, length),
            layout: [counts, offsets, Vec::new(), Vec::new()],
        };
        Self::begin(memory, |Memory { send, receive, layout }, request| {
            // SAFETY: as in `exchange_parts`; this rank's count is the length of `send`.
            unsafe {
                ffi::MPI_Iallgatherv(
                    send.as_ptr().cast::<c_void>(),
                    send.len() as c_int,
                    ffi::RSMPI_FLOAT,
                    receive.as_mut_ptr().cast::<c_void>(),
                    layout[0].as_ptr(),
                    layout[1].as_ptr(),
                    ffi::RSMPI_FLOAT,
                    ranks.as_raw(),
                    request,
                )
            }
        })
    }

    /// Gives `values` to all, and receives the values of all, one rank after the other.
    pub fn gather(ranks: &SimpleCommunicator, size: usize, values: Vec<f32>) -> Self {
        let receive = vec![0.0; values.len() * size];
        let memory = Memory { send: values, receive, ..Memory::default() };
        Self::begin(memory, |Memory { send, receive, .. }, request| {
            let count = send.len() as c_int;
            // SAFETY: as in `exchange_parts`; `receive` has room for `count` elements of each rank.
            unsafe {
                ffi::MPI_Iallgather(
                    send.as_ptr().cast::<c_void>(),
                    count,
                    ffi::RSMPI_FLOAT,
                    receive.as_mut_ptr().cast::<c_void>(),
                    count,
                    ffi::RSMPI_FLOAT,
                    ranks.as_raw(),
                    request,
                )
            }
        })
    }

    /// Replaces `values` by those of rank 0.
    pub fn broadcast(ranks: &SimpleCommunicator, values: Vec<f32>) -> Self {
        let memory = Memory { receive: values, ..Memory::default() };
        Self::begin(memory, |Memory { receive, .. }, request| {
            // SAFETY: as in `exchange_parts`.
            unsafe {
                ffi::MPI_Ibcast(
                    receive.as_mut_ptr().cast::<c_void>(),
                    receive.len() as c_int,
                    ffi::RSMPI_FLOAT,
                    0,
                    ranks.as_raw(),
                    request,
                )
            }
        })
    }

    /// Waits for all ranks.
    pub fn barrier(ranks: &SimpleCommunicator) -> Self {
        Self::begin(Memory::default(), |_, request| {
            // SAFETY: it has no memory but the request.
            unsafe { ffi::MPI_Ibarrier(ranks.as_raw(), request) }
        })
    }

    /// Sends a few values to a rank.
    pub fn send(ranks: &SimpleCommunicator, to: usize, values: Vec<f32>) -> Self {
        let memory = Memory { send: values, ..Memory::default() };
        Self::begin(memory, |Memory { send, .. }, request| {
            // SAFETY: as in `exchange_parts`.
            unsafe {
                ffi::MPI_Isend(
                    send.as_ptr().cast::<c_void>(),
                    send.len() as c_int,
                    ffi::RSMPI_FLOAT,
                    to as c_int,
                    0,
                    ranks.as_raw(),
                    request,
                )
            }
        })
    }

    /// Receives as many values from a rank.
    pub fn receive(ranks: &SimpleCommunicator, from: usize, length: usize) -> Self {
        let memory = Memory { receive: vec![0.0; length], ..Memory::default() };
        Self::begin(memory, |Memory { receive, .. }, request| {
            // SAFETY: as in `exchange_parts`.
            unsafe {
                ffi::MPI_Irecv(
                    receive.as_mut_ptr().cast::<c_void>(),
                    receive.len() as c_int,
                    ffi::RSMPI_FLOAT,
                    from as c_int,
                    0,
                    ranks.as_raw(),
                    request,
                )
            }
        })
    }

    /// Whether it is complete. Asking lets MPI work on all operations.
    pub fn is_complete(&mut self) -> bool {
        if !self.is_complete {
            let mut flag = 0;
            // SAFETY: the request is that of an operation in progress, and is not used again once
            // the library says that it is complete.
            check(unsafe {
                ffi::MPI_Test(&raw mut self.request, &raw mut flag, ffi::RSMPI_STATUS_IGNORE)
            });
            self.is_complete = flag != 0;
        }
        self.is_complete
    }

    /// The memory that was sent and the memory that was received, of a complete operation.
    pub fn into_memory(mut self) -> (Vec<f32>, Vec<f32>) {
        assert!(self.is_complete, "MPI still uses this memory");
        (std::mem::take(&mut self.memory.send), std::mem::take(&mut self.memory.receive))
    }
}

impl Drop for Operation {
    /// Leaks the memory of an operation in progress, which MPI may still write.
    fn drop(&mut self) {
        if self.is_complete {
            // SAFETY: it is dropped once, and MPI no longer uses it.
            unsafe { ManuallyDrop::drop(&mut self.memory) }
        }
    }
}

fn resized(mut memory: Vec<f32>, length: usize) -> Vec<f32> {
    memory.resize(length, 0.0);
    memory
}

/// MPI ends the process at an error, unless it is told otherwise, which this crate never does.
fn check(code: c_int) {
    assert!(code == ffi::MPI_SUCCESS as c_int, "MPI reports error {code}");
}
