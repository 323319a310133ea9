//! This process as one of several that `mpirun` or `srun` started. The first of them prints and
//! writes; at the end all tell each other whether they failed.

use crate::failure::Failure;
use crate::output;
use regraft::ranks::Ranks;
use std::process::ExitCode;
use std::sync::OnceLock;

static RANKS: OnceLock<Ranks> = OnceLock::new();

/// The ranks of this job: a single one, unless a launcher started several.
pub fn ranks() -> &'static Ranks {
    RANKS.get_or_init(Ranks::default)
}

/// A rank's result, if no rank has failed. All ranks ask together.
pub fn agree<T>(result: Result<T, Failure>) -> Result<T, Failure> {
    let has_failed = ranks().any(result.is_err());
    let value = result?;
    if has_failed { Err(Failure::of_peer()) } else { Ok(value) }
}

/// Runs a command as part of the job, and prints its failure.
#[cfg(not(feature = "mpi"))]
pub fn run(command: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    use regraft::ranks::{Launched, launched};
    if let Launched::Ranks { size: Some(size) } = launched() {
        let error = anyhow::anyhow!(
            "a launcher started {size} processes, but this build of regraft knows no MPI, so each \
             would do the whole work"
        );
        let failure = Failure::input(error).or_hint(|| {
            Some("build it with cargo build --release --features mpi, or start one process".into())
        });
        output::aside(&failure);
        return failure.exit_code();
    }
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => alone(&failure),
    }
}

/// Prints the failure of a single process.
fn alone(failure: &Failure) -> ExitCode {
    // Whoever read the output has seen enough.
    if failure.is_closed_pipe() {
        return ExitCode::SUCCESS;
    }
    output::aside(failure);
    failure.exit_code()
}

/// Runs a command as part of the job, and prints the failures of all ranks.
#[cfg(feature = "mpi")]
pub fn run(command: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    use regraft::ranks::Job;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let job = match Job::join() {
        Ok(None) => {
            return match command() {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => alone(&failure),
            };
        }
        Ok(Some(job)) => job,
        Err(error) => {
            let failure = Failure::under_way(error);
            output::aside(&failure);
            return failure.exit_code();
        }
    };
    RANKS.get_or_init(|| job.ranks().clone());
    if !ranks().is_first() {
        output::silence();
    }
    // A rank that ended without a word would keep the others waiting.
    let outcome = catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|_| {
        Err(Failure::under_way(anyhow::anyhow!("a bug of this program: see its message above")))
    });
    together::end(job, outcome)
}

#[cfg(feature = "mpi")]
mod together {
    use super::{Failure, output, ranks};
    use regraft::ranks::{Ending, Farewell, Job, Traffic};
    use std::process::ExitCode;

    /// Ends the job once all ranks have said how they end.
    pub fn end(job: Job, outcome: Result<(), Failure>) -> ExitCode {
        let failure = outcome.err().filter(|failure| !failure.is_closed_pipe());
        let ending = match &failure {
            None => Ending::Well,
            Some(failure) if failure.is_of_peer() => Ending::WithPeer,
            Some(failure) => Ending::Failed(failure.to_string()),
        };
        let Some(all) = job.farewells(&ending) else {
            if let Ending::Failed(failure) = ending {
                let own = Farewell {
                    rank: ranks().rank(),
                    host: job.host().to_owned(),
                    ending: Ending::Well,
                };
                eprintln!("{}", named(&failure, &[&own]));
            }
            job.abort(failure.map_or(1, |failure| failure.code()));
        };
        if ranks().is_first() {
            if let Some(note) = traffic(&job.traffic()) {
                output::aside(note);
            }
            failures(&all).for_each(|text| eprintln!("{text}"));
        }
        job.leave();
        failure.map_or(ExitCode::SUCCESS, |failure| failure.exit_code())
    }

    /// The time and traffic of the sums of gradients, if there were any.
    fn traffic(traffic: &Traffic) -> Option<String> {
        let Traffic { sums, bytes, seconds, waited_seconds } = traffic;
        (*sums > 0).then(|| {
            format!(
                "note: {sums} sums of gradients, {:.1} MB sent by rank 0; {seconds:.2} s under \
                 way, of which {waited_seconds:.2} s were waited for",
                *bytes as f64 / 1e6
            )
        })
    }

    /// The failures of all ranks, each once.
    fn failures(all: &[Farewell]) -> impl Iterator<Item = String> {
        let texts = all.iter().enumerate().filter_map(|(place, farewell)| {
            let Ending::Failed(text) = &farewell.ending else { return None };
            let is_new = all[..place].iter().all(|other| other.ending != farewell.ending);
            is_new.then_some(text)
        });
        texts.map(|text| {
            let with = all
                .iter()
                .filter(|other| matches!(&other.ending, Ending::Failed(own) if own == text));
            named(text, &with.collect::<Vec<_>>())
        })
    }

    /// A failure with the ranks that had it, unless the first one had it too.
    fn named(text: &str, ranks: &[&Farewell]) -> String {
        const LISTED: usize = 4;
        if ranks.iter().any(|farewell| farewell.rank == 0) {
            return text.to_owned();
        }
        let names = ranks.iter().take(LISTED);
        let names = names.map(|Farewell { rank, host, .. }| format!("rank {rank} on {host}"));
        let mut names = names.collect::<Vec<_>>().join(", ");
        if ranks.len() > LISTED {
            names.push_str(&format!(" and {} more", ranks.len() - LISTED));
        }
        match text.split_once(": ") {
            Some((word, rest)) => format!("{word}: {names}: {rest}"),
            None => format!("{names}: {text}"),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_failure_of_several_ranks_is_printed_once() {
            let farewell = |rank: usize, ending: Ending| Farewell {
                rank,
                host: format!("node{}", rank / 2),
                ending,
            };
            let failed = |text: &str| Ending::Failed(format!("error: {text}"));
            let all = [
                farewell(0, Ending::WithPeer),
                farewell(1, failed("the disk is full")),
                farewell(2, failed("a.jpg is gone")),
                farewell(3, failed("a.jpg is gone")),
            ];
            assert_eq!(
                failures(&all).collect::<Vec<_>>(),
                [
                    "error: rank 1 on node0: the disk is full",
                    "error: rank 2 on node1, rank 3 on node1: a.jpg is gone"
                ]
            );
            let all = [farewell(0, failed("no folder")), farewell(1, failed("no folder"))];
            assert_eq!(failures(&all).collect::<Vec<_>>(), ["error: no folder"]);
        }
    }
}
