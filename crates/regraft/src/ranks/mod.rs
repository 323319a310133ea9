//! Several processes that do one piece of work together, usually on several machines. Each of them
//! is a rank and runs the same program on its share of the images.
//!
//! All ranks make the same calls in the same order. Whatever depends on a clock, a file or a signal
//! may differ from rank to rank, so the ranks decide together what follows from it.

mod exchange;
#[cfg(feature = "mpi")]
mod job;

#[cfg(feature = "mpi")]
pub use job::{Ending, Farewell, Job, JobError};
#[cfg(feature = "mpi")]
pub use regraft_mpi::Traffic;
pub use regraft_mpi::{Launched, announced_rank, launched};

use regraft_base::share::Share;
use regraft_nn::collective::{Alone, Collective, Ticket};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// This process's place among the ranks, and its connection to them. Clones share the connection.
#[derive(Clone)]
pub struct Ranks(Arc<Shared>);

struct Shared {
    share: Share,
    place: OnceLock<Place>,
    collective: Mutex<Box<dyn Collective>>,
}

/// Where a rank runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number among the ranks of its machine, from 0.
    pub local_rank: usize,
    /// How many of them share its cores.
    pub on_these_cores: usize,
    /// The number of machines.
    pub machines: usize,
}

impl Default for Place {
    /// Alone on one machine.
    fn default() -> Self {
        Self { local_rank: 0, on_these_cores: 1, machines: 1 }
    }
}

impl Ranks {
    /// The ranks of one machine that a connection reaches; each has cores of its own.
    #[must_use]
    pub fn new(collective: Box<dyn Collective>) -> Self {
        Self::connect(collective, |ranks| Place { local_rank: ranks.rank(), ..Place::default() })
    }

    /// The ranks that a connection reaches. `place` may ask them where they run.
    pub(crate) fn connect(
        collective: Box<dyn Collective>,
        place: impl FnOnce(&Self) -> Place,
    ) -> Self {
        let share = Share { rank: collective.rank(), size: collective.size() };
        let collective = Mutex::new(collective);
        let ranks = Self(Arc::new(Shared { share, place: OnceLock::new(), collective }));
        let place = place(&ranks);
        ranks.0.place.get_or_init(|| place);
        ranks
    }

    /// This rank's number, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.share().rank
    }

    /// The number of ranks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.share().size
    }

    /// This rank's share of whatever is shared out.
    #[must_use]
    pub fn share(&self) -> Share {
        self.0.share
    }

    /// Whether there is no other rank.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// Whether this is rank 0, which alone writes and prints.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Where this rank runs.
    #[must_use]
    pub fn place(&self) -> &Place {
        self.0.place.get_or_init(Place::default)
    }

    /// As many threads as were asked for, or this rank's part of the cores.
    #[must_use]
    pub fn threads(&self, asked: usize) -> usize {
        if asked > 0 {
            return asked;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / self.place().on_these_cores).max(1)
    }

    /// The connection, for an engine. It is the same one: its calls keep their order among those
    /// that are made here.
    #[must_use]
    pub fn collective(&self) -> Box<dyn Collective> {
        Box::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Collective>> {
        self.0.collective.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Ranks {
    /// A single process.
    fn default() -> Self {
        Self::new(Box::new(Alone))
    }
}

impl fmt::Debug for Ranks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rank {} of {}", self.rank(), self.size())
    }
}

/// Two are equal if they are the same connection, or none.
impl PartialEq for Ranks {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.is_alone() && other.is_alone()
    }
}

impl Eq for Ranks {}

impl Collective for Ranks {
    fn rank(&self) -> usize {
        self.share().rank
    }

    fn size(&self) -> usize {
        self.share().size
    }

    fn begin_sum(&mut self, values: &[f32]) -> Ticket {
        self.lock().begin_sum(values)
    }

    fn end_sum(&mut self, ticket: Ticket, values: &mut [f32]) {
        self.lock().end_sum(ticket, values);
    }

    fn gather(&mut self, values: &[f32]) -> Vec<f32> {
        self.lock().gather(values)
    }

    fn broadcast(&mut self, values: &mut [f32]) {
        self.lock().broadcast(values);
    }
}
