//! The launcher of this process, as the environment tells before MPI is initialised.

/// How a launcher started this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launched {
    /// By none, or as its only process.
    Alone,
    /// As one of several processes.
    Ranks {
        /// Their number, if the launcher announces it.
        size: Option<usize>,
    },
}

/// Variables with the number of processes: OpenMPI's, and MPICH's and its descendants'.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// Variables of launchers that announce no number, such as `srun --mpi=pmix`.
const RANKS: [&str; 2] = ["PMIX_RANK", "PMI_RANK"];

/// Where `srun` says how many processes it has started.
const SLURM_SIZE: &str = "SLURM_STEP_NUM_TASKS";

/// Reads the variables that launchers set for MPI.
#[must_use]
pub fn launched() -> Launched {
    read(variable)
}

/// The number that a launcher gave this process, if it says so before MPI is initialised. It may be
/// printed in messages, or decide who prints one.
#[must_use]
pub fn announced_rank() -> Option<usize> {
    const NUMBERS: [&str; 3] = ["OMPI_COMM_WORLD_RANK", RANKS[0], RANKS[1]];
    NUMBERS.iter().find_map(|name| variable(name)?.trim().parse().ok())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read(variable: impl Fn(&str) -> Option<String>) -> Launched {
    let number = |name: &str| variable(name)?.trim().parse().ok();
    let is_rank = RANKS.iter().any(|name| variable(name).is_some());
    let size = SIZES.iter().find_map(|name| number(name));
    match size.or_else(|| number(SLURM_SIZE).filter(|_| is_rank)) {
        Some(1) => Launched::Alone,
        Some(size) => Launched::Ranks { size: Some(size) },
        None if is_rank => Launched::Ranks { size: None },
        None => Launched::Alone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_known_by_their_variables() {
        for (variables, expected) in [
            (&[][..], Launched::Alone),
            (&[("HOME", "2")], Launched::Alone),
            (&[("OMPI_COMM_WORLD_SIZE", "1"), ("PMIX_RANK", "0")], Launched::Alone),
            (&[("OMPI_COMM_WORLD_SIZE", "8")], Launched::Ranks { size: Some(8) }),
            (&[("PMI_SIZE", "3"), ("PMI_RANK", "1")], Launched::Ranks { size: Some(3) }),
            (&[("PMIX_RANK", "1")], Launched::Ranks { size: None }),
            (&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "1")], Launched::Alone),
            (
                &[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "4")],
                Launched::Ranks { size: Some(4) },
            ),
            // A step without MPI: each of its processes may do something else.
            (&[("SLURM_STEP_NUM_TASKS", "4")], Launched::Alone),
        ] {
            let found = read(|name| {
                let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
                Some((*value).to_owned())
            });
            assert_eq!(found, expected, "{variables:?}");
        }
    }
}
