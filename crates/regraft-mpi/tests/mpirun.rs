//! Several processes under `mpirun`, against as many threads.
//!
//! Each test starts its own program under `mpirun`; as a rank, the program runs the part that is
//! tested.

use regraft_base::random::{Draws, Purpose};
use regraft_mpi::World;
use regraft_nn::collective::{Collective, Threads};
use std::process::{Command, Output};

/// Whether this process is a rank that a test started.
fn is_rank() -> bool {
    std::env::var_os("OMPI_COMM_WORLD_SIZE").is_some()
}

/// Runs a test's ranks.
fn mpirun(ranks: usize, test: &str) -> Output {
    let program = std::env::current_exe().expect("a path");
    Command::new("mpirun")
        .args(["--oversubscribe", "-np", &ranks.to_string()])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .output()
        .expect("mpirun, which comes with OpenMPI")
}

fn assert_success(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// A rank's values in a round, of very different sizes, so that another order of summation gives
/// other bits.
fn values(rank: usize, round: usize, length: usize) -> Vec<f32> {
    let mut draws = Draws::new(3, Purpose::Fixture, round as u32, rank as u32);
    (0..length).map(|_| draws.range(-1.0, 1.0) * 10_f32.powi(rank as i32 * 3 - 4)).collect()
}

const LENGTHS: [usize; 9] = [1, 0, 2, 3, 5, 1000, 70_001, 300_000, 7];

/// The answers of the others: sums that begin before others have ended and end in any
/// order, with other exchanges between them.
fn talk(rank: &mut dyn Collective) -> Vec<Vec<f32>> {
    let mut heard = Vec::new();
    let own = rank.rank();
    for round in 0..6 {
        let mut tickets: Vec<_> = LENGTHS
            .iter()
            .map(|&length| Some(rank.begin_sum(&values(own, round, length))))
            .collect();
        heard.push(rank.gather(&values(own, round, round * 5)));
        let mut broadcast = values(own, round + 100, 50);
        rank.broadcast(&mut broadcast);
        heard.push(broadcast);
        for step in 0..LENGTHS.len() {
            let place = (step * (round + 2) + round) % LENGTHS.len();
            let place = if tickets[place].is_some() {
                place
            } else {
                tickets.iter().position(Option::is_some).expect("one is left")
            };
            let mut sum = vec![0.0; LENGTHS[place]];
            rank.end_sum(tickets[place].take().expect("each once"), &mut sum);
            heard.push(sum);
        }
        let is_last = own + 1 == rank.size();
        heard.push(
            [rank.any(is_last), rank.any(false)].map(|flag| f32::from(u8::from(flag))).into(),
        );
    }
    heard
}

#[test]
fn processes_hear_what_threads_hear_to_the_bit() {
    if !is_rank() {
        for ranks in [2, 3, 4] {
            assert_success(&mpirun(ranks, "processes_hear_what_threads_hear_to_the_bit"));
        }
        return;
    }
    let world = World::join().expect("the others").expect("started by mpirun");
    let mut connection = world.connection();
    let heard = talk(&mut connection);
    let expected: Vec<_> = std::thread::scope(|scope| {
        let ranks: Vec<_> = Threads::new(world.size())
            .into_iter()
            .map(|mut rank| scope.spawn(move || talk(&mut rank)))
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    });
    let bits = |heard: &[Vec<f32>]| -> Vec<Vec<u32>> {
        heard.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&heard), bits(&expected[world.rank()]));
    let traffic = world.traffic();
    assert_eq!(traffic.sums, 6 * LENGTHS.len() as u64);
    // The parts of the others, and this rank's sums for each of them.
    let elements: usize = LENGTHS
        .iter()
        .map(|&length| {
            let share = regraft_base::share::Share { rank: world.rank(), size: world.size() };
            let own = share.of(length).len();
            length - own + (world.size() - 1) * own
        })
        .sum();
    assert_eq!(traffic.bytes, 6 * 4 * elements as u64);
    world.leave();
}

#[test]
fn last_words_reach_all_and_a_rank_that_stays_away_is_missed() {
    if !is_rank() {
        let output = mpirun(3, "last_words_reach_all_and_a_rank_that_stays_away_is_missed");
        assert_success(&output);
        return;
    }
    let world = World::join().expect("the others").expect("started by mpirun");
    let words = format!("ä{}", "x".repeat(5000 * world.rank()));
    let all = world.farewell(&words, None).expect("no limit");
    assert_eq!(all.len(), 3);
    assert_eq!(all[0], "ä");
    assert!(all[1].len() > 4000 && all[1].starts_with("äxxx"), "{}", all[1].len());
    if world.rank() > 0 {
        let limit = std::time::Duration::from_millis(500);
        assert_eq!(world.farewell("I failed", Some(limit)), None, "rank 0 does not come");
    }
    // Its part is still owed to the others.
    let mut connection = world.connection();
    connection.gather(&[0.0]);
    if world.rank() == 0 {
        assert!(world.farewell("", None).is_some());
    }
    world.leave();
}

#[test]
fn a_killed_rank_is_named_and_the_others_end() {
    const NAME: &str = "a_killed_rank_is_named_and_the_others_end";
    if !is_rank() {
        let began = std::time::Instant::now();
        let output = mpirun(3, NAME);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(text.contains("rank 1") && text.contains("signal 9"), "{text}");
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
        return;
    }
    let world = World::join().expect("the others").expect("started by mpirun");
    let mut connection = world.connection();
    if world.rank() == 1 {
        let own = std::process::id().to_string();
        drop(Command::new("kill").args(["-9", &own]).status());
    }
    connection.gather(&[0.0]);
    unreachable!("rank 1 is gone");
}

#[test]
fn a_halted_rank_is_named_and_the_others_end() {
    const NAME: &str = "a_halted_rank_is_named_and_the_others_end";
    if !is_rank() {
        let began = std::time::Instant::now();
        let output = mpirun(3, NAME);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(text.contains("error: rank 1 on ") && text.contains("no sign of life"), "{text}");
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
        return;
    }
    let world = World::join().expect("the others").expect("started by mpirun");
    let mut connection = world.connection();
    connection.gather(&[0.0]);
    if world.rank() == 1 {
        let own = std::process::id().to_string();
        drop(Command::new("kill").args(["-STOP", &own]).status());
    }
    connection.gather(&[0.0]);
    unreachable!("rank 1 has halted");
}
