//! The thread that communicates: the only one of a process that calls MPI.
//!
//! It never waits inside MPI, so it can watch the other ranks, and several sums travel while the
//! network computes. Between two looks at the operations it sleeps, because it may have to share a
//! core with the computation.

use crate::operation::Operation;
use crate::rank::Request;
use crate::shared::Shared;
use crate::watch::{Alarm, LIMIT, Watch};
use mpi::topology::{Communicator, SimpleCommunicator};
use regraft_base::share::Share;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long it sleeps if nothing is under way: at first, because what this rank has sent may still
/// wait for a look at the network, and then.
const IDLE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];
/// How long it sleeps at first, and at most, if something is.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_micros(500)];
/// The time without progress after which it sleeps for longer.
const PATIENCE: Duration = Duration::from_millis(20);

pub struct Thread {
    share: Share,
    hosts: Vec<String>,
    requests: Receiver<Request>,
    shared: Arc<Shared>,
    /// Of each kind of operation, because all ranks must begin those of a communicator in the same
    /// order, and a sum's second operation begins when its first is complete.
    exchanges: SimpleCommunicator,
    joins: SimpleCommunicator,
    others: SimpleCommunicator,
    farewells: SimpleCommunicator,
    watch: Watch,
    /// Sums whose parts are being exchanged, oldest first.
    exchanging: VecDeque<Sum>,
    /// Sums whose results are being joined, oldest first.
    joining: VecDeque<Sum>,
    /// Other operations, oldest first.
    pending: VecDeque<(usize, Operation)>,
    /// The exchange of last words. It may be complete before other operations, which never will be
    /// if a rank fails.
    farewell: Option<(usize, Operation)>,
    /// Since when at least one sum is under way.
    busy: Option<Instant>,
}

struct Sum {
    number: usize,
    length: usize,
    operation: Operation,
}

/// How the thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Left,
    Aborted(i32),
}

impl Thread {
    pub fn new(
        world: &SimpleCommunicator,
        hosts: Vec<String>,
        requests: Receiver<Request>,
        shared: Arc<Shared>,
    ) -> Self {
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Self {
            share: Share { rank, size },
            hosts,
            requests,
            shared,
            exchanges: world.duplicate(),
            joins: world.duplicate(),
            others: world.duplicate(),
            farewells: world.duplicate(),
            watch: Watch::new(world.duplicate(), rank, size),
            exchanging: VecDeque::new(),
            joining: VecDeque::new(),
            pending: VecDeque::new(),
            farewell: None,
            busy: None,
        }
    }

    /// Serves requests until the rank leaves. MPI can be finalised afterwards.
    pub fn run(mut self) {
        match self.serve() {
            End::Left => self.shared.end(),
            End::Aborted(code) => self.others.abort(code),
        }
    }

    fn serve(&mut self) -> End {
        let mut progress = Instant::now();
        loop {
            let since = progress.elapsed();
            let pause = match self.is_idle() {
                true => IDLE[usize::from(since > Duration::from_secs(1))],
                false => PAUSES[usize::from(since > PATIENCE)],
            };
            match self.requests.recv_timeout(pause) {
                Ok(Request::Leave) | Err(RecvTimeoutError::Disconnected) => return self.leave(),
                Ok(Request::Abort(code)) => return End::Aborted(code),
                Ok(request) => {
                    self.begin(request);
                    progress = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            while self.advance() {
                progress = Instant::now();
            }
            if let Some(end) = self.look_around() {
                return end;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.exchanging.is_empty()
            && self.joining.is_empty()
            && self.pending.is_empty()
            && self.farewell.is_none()
    }

    /// Begins what was asked for.
    fn begin(&mut self, request: Request) {
        match request {
            // All ranks give as many values. OpenMPI takes two empty buffers for one, because their
            // addresses are the same, and then counts its messages differently from rank to rank.
            Request::Sum(number, values) if values.is_empty() => {
                self.shared.count(|traffic| traffic.sums += 1);
                self.shared.finish(number, values);
            }
            Request::Gather(number, values) | Request::Broadcast(number, values)
                if values.is_empty() =>
            {
                self.shared.finish(number, values);
            }
            Request::Sum(number, values) => {
                let length = values.len();
                let memory = self.shared.memory();
                let operation =
                    Operation::exchange_parts(&self.exchanges, self.share, values, memory);
                self.busy.get_or_insert_with(Instant::now);
                self.exchanging.push_back(Sum { number, length, operation });
            }
            Request::Gather(number, values) => {
                let operation = Operation::gather(&self.others, self.share.size, values);
                self.pending.push_back((number, operation));
            }
            Request::Broadcast(number, values) => {
                let operation = Operation::broadcast(&self.others, values);
                self.pending.push_back((number, operation));
            }
            Request::Farewell(number, values) => {
                let operation = Operation::gather(&self.farewells, self.share.size, values);
                self.farewell = Some((number, operation));
            }
            Request::Leave | Request::Abort(_) => unreachable!("they end the thread"),
        }
    }

    /// Continues the operations that are complete. Says whether there was one.
    fn advance(&mut self) -> bool {
        let mut has_advanced = false;
        if self.exchanging.front_mut().is_some_and(|sum| sum.operation.is_complete())
            && let Some(sum) = self.exchanging.pop_front()
        {
            has_advanced = true;
            let Sum { number, length, operation } = sum;
            let (sent, parts) = operation.into_memory();
            let own = self.share.of(length).len();
            let mut sums = self.shared.memory();
            sums.extend_from_slice(&parts[..own]);
            for other in parts.chunks_exact(own.max(1)).skip(1) {
                sums.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
            }
            self.shared.recycle(parts);
            let operation = Operation::join_parts(&self.joins, self.share.size, sums, length, sent);
            self.joining.push_back(Sum { number, length, operation });
        }
        if self.joining.front_mut().is_some_and(|sum| sum.operation.is_complete())
            && let Some(sum) = self.joining.pop_front()
        {
            has_advanced = true;
            let Sum { number, length, operation } = sum;
            let (own, sums) = operation.into_memory();
            let sent = length - own.len() + (self.share.size - 1) * own.len();
            self.shared.recycle(own);
            let is_last = self.exchanging.is_empty() && self.joining.is_empty();
            let busy = if is_last { self.busy.take() } else { None };
            self.shared.count(|traffic| {
                traffic.sums += 1;
                traffic.bytes += 4 * sent as u64;
                traffic.seconds += busy.map_or(0.0, |since| since.elapsed().as_secs_f64());
            });
            self.shared.finish(number, sums);
        }
        if self.pending.front_mut().is_some_and(|(_, operation)| operation.is_complete())
            && let Some((number, operation)) = self.pending.pop_front()
        {
            has_advanced = true;
            let (sent, received) = operation.into_memory();
            self.shared.recycle(sent);
            self.shared.finish(number, received);
        }
        if let Some((number, operation)) =
            self.farewell.take_if(|(_, operation)| operation.is_complete())
        {
            has_advanced = true;
            self.shared.finish(number, operation.into_memory().1);
        }
        has_advanced
    }

    /// Gives and takes the signs of life. Ends all ranks if one is gone.
    fn look_around(&mut self) -> Option<End> {
        let alarm = self.watch.poll()?;
        if let Alarm::Silent(silent) = alarm {
            eprintln!(
                "error: rank {silent} on {} has given no sign of life to rank {} on {} for {} s: \
                 its process or machine has halted, or the network between them is gone; all \
                 ranks end",
                self.hosts[silent],
                self.share.rank,
                self.hosts[self.share.rank],
                LIMIT.as_secs()
            );
        }
        exit_if_abort_hangs();
        self.watch.pass_on();
        Some(End::Aborted(1))
    }

    /// Waits until all ranks leave.
    fn leave(&mut self) -> End {
        let mut barrier = Operation::barrier(&self.others);
        while !(self.watch.leave() & barrier.is_complete()) {
            if let Some(end) = self.look_around() {
                return end;
            }
            match self.requests.recv_timeout(PAUSES[1]) {
                Ok(Request::Abort(code)) => return End::Aborted(code),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(PAUSES[1]),
            }
        }
        End::Left
    }
}

/// Ends this process for certain, soon: `MPI_Abort` may wait for a machine that is gone.
fn exit_if_abort_hangs() {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(3));
        std::process::abort();
    });
}
