//! Strangers that begin large frames and stall, trickle or vanish, and honest clients beside them that want to be served.

use std::time::Duration;

use madsim::rand::{Rng, thread_rng};
use madsim::runtime::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use trialog_net::frame_memory::FREE;

use super::{
    Kind, LIMIT, Operator, PORT, SERVER, Shared, answer, framed, judge_memory, machine, request,
    server,
};

/// They would fill the memory of unfinished frames many times over.
const CROWD: u32 = 24;
/// Requests of each honest client.
const REQUESTS: u32 = 12;
/// A frame that has room, or needs none, is answered within this time.
const SMALL_WITHIN: Duration = Duration::from_secs(1);
/// One that must wait for strangers to give way.
const LARGE_WITHIN: Duration = Duration::from_secs(2);
/// Strangers' requests are nobody's session.
const NOBODY: u64 = 1 << 60;

/// One stranger after another, for ever.
pub async fn stranger() {
    loop {
        if let Ok(Ok(stream)) =
            timeout(Duration::from_secs(5), TcpStream::connect((SERVER, PORT))).await
        {
            visit(stream).await;
        }
        sleep(Duration::from_millis(thread_rng().gen_range(0..200))).await;
    }
}

/// Begins a frame, and never finishes it.
async fn visit(stream: TcpStream) {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let (well_known, length, patience) = {
        let mut rng = thread_rng();
        let patience = Duration::from_millis(rng.gen_range(0..15_000));
        (rng.gen_bool(0.5), rng.gen_range(70_000..=LIMIT), patience)
    };
    let whole = |length: u32| {
        let mut body = request(NOBODY, 0, Kind::Delay, 0);
        body.resize(length as usize, 0);
        framed(&body)
    };
    if well_known && send(&mut writing, &whole(LIMIT)).await.is_none() {
        // Who has sent a large frame is given a large buffer for the next.
        return;
    }
    let frame = whole(length);
    let sent = match thread_rng().gen_range(0..4) {
        0 => thread_rng().gen_range(4..frame.len()),
        1 => frame.len() - 1,
        2 => 4 + FREE,
        _ => frame.len() - thread_rng().gen_range(100..20_000),
    };
    if send(&mut writing, &frame[..sent]).await.is_none() {
        return;
    }
    let hangs_on = async {
        match thread_rng().gen_range(0..4) {
            0 => {}
            1 => closed(&mut reading).await,
            _ => {
                for byte in &frame[sent..frame.len() - 1] {
                    sleep(Duration::from_millis(thread_rng().gen_range(1..400))).await;
                    if send(&mut writing, std::slice::from_ref(byte))
                        .await
                        .is_none()
                    {
                        return;
                    }
                }
                closed(&mut reading).await;
            }
        }
    };
    // They stay so long; or they see that they are closed.
    let _ = timeout(patience, hangs_on).await;
}

async fn send(to: &mut WriteHalf<TcpStream>, bytes: &[u8]) -> Option<()> {
    to.write_all(bytes).await.ok()?;
    to.flush().await.ok()
}

async fn closed(from: &mut ReadHalf<TcpStream>) {
    let mut scratch = [0; 4096];
    while matches!(from.read(&mut scratch).await, Ok(n) if n > 0) {}
}

/// Sends frames of up to `most` bytes, each on a connection of its own; how long the slowest answer took.
async fn honest(
    name: u64,
    least: usize,
    most: usize,
    within: Duration,
) -> Result<Duration, String> {
    let mut slowest = Duration::ZERO;
    for number in 0..REQUESTS {
        let length = thread_rng().gen_range(least..most);
        let body = request(name, number, Kind::Delay, length - 13);
        let began = Instant::now();
        let served = timeout(within, ask(&body)).await;
        let got = served.map_err(|_| format!("{length} bytes were not answered in {within:?}"))?;
        let got = got.ok_or_else(|| format!("closed over a frame of {length} bytes"))?;
        if got != framed(&answer(&body)) {
            return Err(format!("{length} bytes have another answer than theirs"));
        }
        slowest = slowest.max(began.elapsed());
        sleep(Duration::from_millis(thread_rng().gen_range(0..1_500))).await;
    }
    Ok(slowest)
}

/// One request on a connection of its own.
async fn ask(body: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect((SERVER, PORT)).await.ok()?;
    stream.write_all(&framed(body)).await.ok()?;
    stream.flush().await.ok()?;
    let mut got = vec![0; 4 + 4 + body.len()];
    stream.read_exact(&mut got).await.ok()?;
    Some(got)
}

/// A crowd of strangers, and two honest clients: one with small requests, one with large ones.
pub fn simulate(seed: u64) -> Result<String, String> {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    let shared = Shared::default();
    let _server = server(&runtime, &shared, &Operator::default(), seed);
    let crowd = machine(&runtime, "strangers", "10.0.2.1");
    let honest_one = machine(&runtime, "client", "10.0.1.1");
    runtime.block_on(async {
        sleep(Duration::from_millis(100)).await;
        for _ in 0..CROWD {
            drop(crowd.spawn(stranger()));
        }
        sleep(Duration::from_secs(2)).await;
        let small = honest_one.spawn(honest(1, 13, FREE, SMALL_WITHIN));
        let large = honest_one.spawn(honest(2, FREE, LIMIT as usize, LARGE_WITHIN));
        let small = small.await.map_err(|error| error.to_string())??;
        let large = large.await.map_err(|error| error.to_string())??;
        let held = judge_memory()?;
        Ok(format!(
            "seed {seed}: small within {small:?}, large within {large:?}, {held} bytes held"
        ))
    })
}
