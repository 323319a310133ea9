//! All ranks of a job.

use crate::launcher::{Launched, launched};
use crate::rank::{Rank, Request};
use crate::shared::{Shared, Traffic};
use crate::thread::Thread;
use mpi::Threading;
use mpi::environment;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::CommunicatorCollectives;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A process that cannot become a rank.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// MPI cannot be initialised.
    #[error("MPI cannot be initialised: another part of this process has done so")]
    Initialised,
    /// The library does not allow threads.
    #[error(
        "this MPI allows no threads beside the one that communicates ({library}): use one that \
         was built with threads"
    )]
    NoThreads {
        /// The library's name and version.
        library: String,
    },
    /// The launcher started several processes that do not find each other.
    #[error(
        "the launcher started {announced} processes, but MPI connects {found}: this program was \
         built against another MPI ({library}) than that of the launcher"
    )]
    OtherLibrary {
        /// Processes that the launcher started.
        announced: usize,
        /// Ranks of the connection.
        found: usize,
        /// The library's name and version.
        library: String,
    },
    /// The operating system started no thread.
    #[error("cannot start the thread that communicates with other ranks: {0}")]
    NoThread(String),
}

/// The connection of this process to all ranks of the job.
pub struct World {
    facts: Facts,
    requests: Sender<Request>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The facts about the job that a rank has.
#[derive(Clone, Debug)]
struct Facts {
    rank: usize,
    local_rank: usize,
    local_size: usize,
    hosts: Vec<String>,
    library: String,
}

impl World {
    /// Connects this process to the others that the launcher started; `None` if there are none.
    ///
    /// # Errors
    /// If the processes do not find each other.
    pub fn join() -> Result<Option<Self>, JoinError> {
        let Launched::Ranks { size: announced } = launched() else { return Ok(None) };
        let shared = Arc::<Shared>::default();
        let (requests, received) = mpsc::channel();
        let (tell, facts) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let thread = Builder::new()
            .name("mpi".to_owned())
            .spawn(move || communicate(announced, &tell, received, of_thread))
            .map_err(|error| JoinError::NoThread(error.to_string()))?;
        match facts.recv() {
            Ok(Ok(facts)) => Ok(Some(Self { facts, requests, shared, thread: Some(thread) })),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(JoinError::Initialised),
        }
    }

    /// This rank's number.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.facts.rank
    }

    /// The number of ranks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.facts.hosts.len()
    }

    /// This rank's place among those of its machine.
    #[must_use]
    pub fn local_rank(&self) -> usize {
        self.facts.local_rank
    }

    /// The number of ranks on its machine.
    #[must_use]
    pub fn local_size(&self) -> usize {
        self.facts.local_size
    }

    /// The name of each rank's machine.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.facts.hosts
    }

    /// The library's name and version.
    #[must_use]
    pub fn library(&self) -> &str {
        &self.facts.library
    }

    /// The connection. All ranks must use the first one that they ask for, and only that.
    #[must_use]
    pub fn connection(&self) -> Rank {
        Rank::new(self.rank(), self.size(), self.requests.clone(), Arc::clone(&self.shared))
    }

    /// The traffic of this rank so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.traffic()
    }

    /// Exchanges the last words of all ranks, of at most a few kilobytes. `None` if `limit` has
    /// passed before all ranks have said theirs.
    #[must_use]
    pub fn farewell(&self, message: &str, limit: Option<Duration>) -> Option<Vec<String>> {
        /// A number that no connection uses.
        const NUMBER: usize = usize::MAX;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let _ = self.requests.send(Request::Farewell(NUMBER, to_words(message)));
        let all = self.shared.wait_until(NUMBER, deadline)?;
        Some(all.chunks(WORDS).map(from_words).collect())
    }

    /// Waits for all ranks, then ends the connection.
    pub fn leave(mut self) {
        let _ = self.requests.send(Request::Leave);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed.
            let _ = thread.join();
        }
    }

    /// Ends all ranks at once, with this exit code.
    pub fn abort(&self, code: u8) -> ! {
        let _ = self.requests.send(Request::Abort(code.into()));
        // The process ends meanwhile, unless MPI hangs.
        std::thread::sleep(Duration::from_secs(5));
        std::process::exit(code.into())
    }
}

/// Words of a message of [`World::farewell`]: its length in bytes, and the bytes.
const WORDS: usize = 1024;

fn to_words(message: &str) -> Vec<f32> {
    let most = message.len().min(4 * (WORDS - 1));
    let end = (0..=most).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
    let length = [(end as u32).to_le_bytes()];
    let mut bytes = message.as_bytes()[..end].to_vec();
    bytes.resize(4 * (WORDS - 1), 0);
    let (words, _) = bytes.as_chunks::<4>();
    length.iter().chain(words).map(|word| f32::from_le_bytes(*word)).collect()
}

fn from_words(words: &[f32]) -> String {
    let length = words.first().map_or(0, |length| length.to_bits() as usize);
    let bytes: Vec<u8> = words.iter().skip(1).flat_map(|word| word.to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes[..length.min(bytes.len())]).into_owned()
}

/// Initialises MPI, serves requests and finalises MPI.
fn communicate(
    announced: Option<usize>,
    tell: &Sender<Result<Facts, JoinError>>,
    requests: Receiver<Request>,
    shared: Arc<Shared>,
) {
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled) else {
        let _ = tell.send(Err(JoinError::Initialised));
        return;
    };
    let library = environment::library_version().unwrap_or_default();
    let library = library.split(',').next().unwrap_or_default().trim().to_owned();
    let world = universe.world();
    let found = world.size() as usize;
    if threading < Threading::Funneled {
        let _ = tell.send(Err(JoinError::NoThreads { library }));
        return;
    }
    if let Some(announced) = announced.filter(|&announced| announced != found) {
        let _ = tell.send(Err(JoinError::OtherLibrary { announced, found, library }));
        return;
    }
    let local = world.split_shared(world.rank());
    let facts = Facts {
        rank: world.rank() as usize,
        local_rank: local.rank() as usize,
        local_size: local.size() as usize,
        hosts: hosts(&world),
        library,
    };
    drop(local);
    let thread = Thread::new(&world, facts.hosts.clone(), requests, Arc::clone(&shared));
    if tell.send(Ok(facts)).is_ok() {
        thread.run();
    }
}

/// The name of each rank's machine.
fn hosts(world: &SimpleCommunicator) -> Vec<String> {
    /// Bytes of a name that are kept.
    const LENGTH: usize = 64;
    let name = environment::processor_name().unwrap_or_default();
    let mut own = [0_u8; LENGTH];
    own.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    let mut all = vec![0_u8; LENGTH * world.size() as usize];
    world.all_gather_into(&own[..], &mut all[..]);
    all.chunks(LENGTH)
        .map(|name| {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(LENGTH);
            String::from_utf8_lossy(&name[..end]).into_owned()
        })
        .collect()
}
