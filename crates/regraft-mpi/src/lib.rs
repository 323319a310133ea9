//! Processes that train one network together, connected by MPI: an implementation of
//! [`Collective`](regraft_nn::collective::Collective) over several machines.
//!
//! The connection needs the feature `mpi` and an MPI library, such as OpenMPI, which the crate is
//! built against. Without the feature the crate only knows how many ranks the launcher announces.

mod launcher;

#[cfg(feature = "mpi")]
mod operation;
#[cfg(feature = "mpi")]
mod rank;
#[cfg(feature = "mpi")]
mod shared;
#[cfg(feature = "mpi")]
mod thread;
#[cfg(feature = "mpi")]
mod watch;
#[cfg(feature = "mpi")]
mod world;

pub use launcher::{Launched, announced_rank, launched};
#[cfg(feature = "mpi")]
pub use rank::Rank;
#[cfg(feature = "mpi")]
pub use shared::Traffic;
#[cfg(feature = "mpi")]
pub use world::{JoinError, World};
