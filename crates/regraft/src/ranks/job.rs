//! A job of several ranks that a launcher such as `mpirun` or `srun` started.

use super::{Place, Ranks};
use regraft_mpi::{JoinError, Traffic, World};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// How long a rank that failed waits for the others to end too. They do if they know of the
/// failure; otherwise they wait for this rank, and have to be ended.
const PATIENCE: Duration = Duration::from_secs(8);

/// A process that cannot take part in its job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The processes do not find each other.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The ranks run different programs.
    #[error(
        "rank {rank} on {host} runs Regraft {found}, and rank 0 Regraft {first}: install the same \
         version on all machines"
    )]
    Versions {
        /// A rank with another version than the first.
        rank: usize,
        /// The name of its machine.
        host: String,
        /// Its version.
        found: String,
        /// The first rank's version.
        first: String,
    },
}

/// This process as a part of a job.
pub struct Job {
    world: World,
    ranks: Ranks,
}

/// How a rank ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its work is done.
    Well,
    /// It failed because another one did.
    WithPeer,
    /// It failed for this reason.
    Failed(String),
}

/// The last words of a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The rank.
    pub rank: usize,
    /// The name of its machine.
    pub host: String,
    /// How it ends.
    pub ending: Ending,
}

impl Ending {
    fn to_message(&self) -> String {
        match self {
            Self::Well => "well".to_owned(),
            Self::WithPeer => "peer".to_owned(),
            Self::Failed(reason) => format!("fail{reason}"),
        }
    }

    fn of_message(message: &str) -> Self {
        match message.split_at_checked(4) {
            Some(("well", _)) => Self::Well,
            Some(("peer", _)) => Self::WithPeer,
            Some((_, reason)) => Self::Failed(reason.to_owned()),
            None => Self::Failed(message.to_owned()),
        }
    }
}

impl Job {
    /// Connects this process to the others; `None` if no launcher started any.
    ///
    /// # Errors
    /// If the processes do not find each other, or run different versions of Regraft.
    pub fn join() -> Result<Option<Self>, JobError> {
        let Some(world) = World::join()? else { return Ok(None) };
        let machines = world.hosts().iter().collect::<BTreeSet<_>>().len();
        let host = world.hosts()[world.rank()].clone();
        let ranks = Ranks::connect(Box::new(world.connection()), |ranks| {
            let cores = format!("{host} {}", cores());
            let all = ranks.exchange(cores.as_bytes());
            let on_these_cores = all.iter().filter(|other| **other == cores.as_bytes()).count();
            Place { local_rank: world.local_rank(), on_these_cores, machines }
        });
        let versions = ranks.exchange(env!("CARGO_PKG_VERSION").as_bytes());
        if let Some(rank) = versions.iter().position(|version| *version != versions[0]) {
            let [found, first] =
                [rank, 0].map(|rank| String::from_utf8_lossy(&versions[rank]).into_owned());
            let host = world.hosts()[rank].clone();
            world.leave();
            return Err(JobError::Versions { rank, host, found, first });
        }
        Ok(Some(Self { ranks, world }))
    }

    /// The ranks of the job.
    #[must_use]
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// The name and version of the MPI library.
    #[must_use]
    pub fn library(&self) -> &str {
        self.world.library()
    }

    /// The traffic of this rank so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.world.traffic()
    }

    /// Tells the other ranks how this one ends, and learns how they end. If this rank failed and
    /// the others do not end within some seconds, because they know nothing of it, the answer is
    /// `None`: they have to be [aborted](Self::abort).
    #[must_use]
    pub fn farewells(&self, ending: &Ending) -> Option<Vec<Farewell>> {
        let patience = (*ending != Ending::Well).then_some(PATIENCE);
        let messages = self.world.farewell(&ending.to_message(), patience)?;
        let all = self.world.hosts().iter().zip(messages).enumerate();
        let farewell = |(rank, (host, message)): (usize, (&String, String))| Farewell {
            rank,
            host: host.clone(),
            ending: Ending::of_message(&message),
        };
        Some(all.map(farewell).collect())
    }

    /// The name of this rank's machine.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.world.hosts()[self.world.rank()]
    }

    /// Waits for all ranks and ends the connection.
    pub fn leave(self) {
        self.world.leave();
    }

    /// Ends all ranks at once, with this exit code.
    pub fn abort(&self, code: u8) -> ! {
        self.world.abort(code)
    }
}

/// The cores on which this process may run, as Linux lists them. Elsewhere nothing says so, and all
/// ranks of a machine share its cores.
fn cores() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or("all").trim().to_owned()
}
