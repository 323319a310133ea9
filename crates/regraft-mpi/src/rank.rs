//! A rank's connection to the others.

use crate::operation::MOST;
use crate::shared::{Shared, Traffic};
use regraft_nn::collective::{Collective, Ticket};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// A request to the thread that communicates.
pub enum Request {
    /// The sum of these values over the ranks.
    Sum(usize, Vec<f32>),
    /// The values of all ranks.
    Gather(usize, Vec<f32>),
    /// The values of rank 0.
    Broadcast(usize, Vec<f32>),
    /// The last words of all ranks.
    Farewell(usize, Vec<f32>),
    /// The end, once all ranks have asked for it.
    Leave,
    /// The end of all ranks, with this exit code.
    Abort(i32),
}

/// One process's connection to the others.
///
/// Sums are taken in the order of the ranks, so they have the same bits as those of
/// [`Threads`](regraft_nn::collective::Threads). Each rank adds up a slice: the slices are
/// exchanged with `MPI_Ialltoallv` and the sums with `MPI_Iallgatherv`, because `MPI_Allreduce`
/// fixes no order. A rank sends `2 (size - 1) / size` of the values, as the best algorithms of
/// `MPI_Allreduce` do.
pub struct Rank {
    rank: usize,
    size: usize,
    requests: Sender<Request>,
    shared: Arc<Shared>,
    next: usize,
}

impl Rank {
    pub(crate) fn new(
        rank: usize,
        size: usize,
        requests: Sender<Request>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { rank, size, requests, shared, next: 0 }
    }

    /// The traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.traffic()
    }

    fn copy(&self, values: &[f32]) -> Vec<f32> {
        let mut memory = self.shared.memory();
        memory.extend_from_slice(values);
        memory
    }

    /// Sends a request, and returns its number.
    fn ask(&mut self, request: impl FnOnce(usize) -> Request) -> usize {
        let number = self.next;
        self.next += 1;
        // If nobody listens, waiting for the result says so.
        let _ = self.requests.send(request(number));
        number
    }
}

impl Collective for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn begin_sum(&mut self, values: &[f32]) -> Ticket {
        assert!(values.len() <= MOST, "a sum of {} values is too long for MPI", values.len());
        let values = self.copy(values);
        Ticket::new(self.ask(|number| Request::Sum(number, values)))
    }

    fn end_sum(&mut self, ticket: Ticket, values: &mut [f32]) {
        let began = Instant::now();
        let sums = self.shared.wait(ticket.number());
        self.shared.count(|traffic| traffic.waited_seconds += began.elapsed().as_secs_f64());
        values.copy_from_slice(&sums);
        self.shared.recycle(sums);
    }

    fn gather(&mut self, values: &[f32]) -> Vec<f32> {
        let values = self.copy(values);
        let number = self.ask(|number| Request::Gather(number, values));
        self.shared.wait(number)
    }

    fn broadcast(&mut self, values: &mut [f32]) {
        for part in values.chunks_mut(MOST) {
            let copy = self.copy(part);
            let number = self.ask(|number| Request::Broadcast(number, copy));
            let found = self.shared.wait(number);
            part.copy_from_slice(&found);
            self.shared.recycle(found);
        }
    }
}
