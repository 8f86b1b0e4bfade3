//! The loop: inputs to [`Machine::step`], effects to sockets, files and threads.
//!
//! One task owns the machine. It takes inputs in batches, so that the disk operations of a batch go out together, and
//! never waits for anything but the next input.

use std::collections::{HashMap, VecDeque};
use std::future::{pending, poll_fn};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use trialog_core::event::Event;
use trialog_core::ids::{ConnId, ListenerId};
use trialog_core::io::{
    ConnectError, DiskOp, Effect, Effects, FRAME_LIMIT_UNTRUSTED, Halt, Input, Parts, Token, Wake,
};
use trialog_core::node::Node;
use trialog_core::time::{self, Now};
use trialog_core::work::Facts;

use crate::clock::Clock;
use crate::conn::{self, Control, Mail};
use crate::disk::{Completion, Disk};
use crate::events::Teller;
use crate::frame_memory::FrameMemory;
use crate::work::Work;

/// Mail of the connections that the loop has not read yet; a connection that fills it waits.
const MAIL_MAX: usize = 1024;
/// Inputs that are taken at once, before the disk operations that they caused are submitted.
const BATCH_MAX: usize = 256;
/// After a halt, what was given to connections may take so long to leave.
const FAREWELL: Duration = Duration::from_millis(500);
/// A peer that does not answer a connection attempt for so long is not there (`socket.connection.setup.timeout.ms`).
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// A pause after a failed accept: most likely there is no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A witness is told when there was nothing to do for so long.
const IDLE: Duration = Duration::from_millis(200);

/// What the loop steps: [`Node`], or a scripted stand-in in tests.
pub trait Machine {
    /// See [`Node::step`].
    fn step(&mut self, now: Now, input: Input, out: &mut Effects);
    /// See [`Node::next_wakeup`].
    fn next_wakeup(&self) -> Option<(time::Instant, Wake)>;
}

impl Machine for Node {
    fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        Node::step(self, now, input, out);
    }
    fn next_wakeup(&self) -> Option<(time::Instant, Wake)> {
        Node::next_wakeup(self)
    }
}

/// Sees every step: the recorder.
pub trait Witness: Send {
    /// Before a step.
    fn input(&mut self, now: Now, input: &Input);
    /// After it.
    fn effects(&mut self, now: Now, effects: &[Effect]);
    /// Between two steps, when there was nothing to do for a moment.
    fn idle(&mut self);
    /// After the last step.
    fn end(&mut self);
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Finish what is in flight; a second one ends at once.
    Gracefully,
}

/// How the loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The machine halted.
    Halted(Halt),
    /// The operator asked a second time, and did not get a graceful stop.
    Forced,
}

/// What the loop works with.
pub struct World {
    /// The listeners, in the order of the node's `Boot`.
    pub listeners: Vec<TcpListener>,
    /// The log directories.
    pub disk: Box<dyn Disk>,
    /// The operator.
    pub stop: Receiver<Stop>,
    /// Connections beyond this number are closed as they come.
    pub connections_max: usize,
    /// Bytes that frames may hold together until they are whole.
    pub frame_memory_bytes: u64,
    /// Sees every step, if anybody does.
    pub witness: Option<Box<dyn Witness>>,
    /// Told once, when the node serves clients.
    pub ready: Option<oneshot::Sender<()>>,
}

/// Steps `machine` from [`Input::Start`] until it halts. The disk is given back: to drop it can take as long as a device does not
/// answer.
pub async fn run(machine: impl Machine, world: World) -> (Ended, Box<dyn Disk>) {
    let (mail_in, mail) = mpsc::channel(MAIL_MAX);
    let (listening, listened) = watch::channel(());
    let mut acceptors = Vec::new();
    for (socket, n) in world.listeners.into_iter().zip(0..) {
        let accepting = accept(socket, ListenerId(n), mail_in.clone(), listened.clone());
        acceptors.push(tokio::spawn(accepting));
    }
    let mut driver = Driver {
        machine,
        clock: Clock::start(),
        effects: Effects::default(),
        conns: HashMap::new(),
        conns_opened: 0,
        connections_max: world.connections_max,
        teller: Teller::default(),
        frame_memory: FrameMemory::new(world.frame_memory_bytes),
        ready: VecDeque::new(),
        resumed: VecDeque::new(),
        ops: Vec::new(),
        done: Vec::new(),
        facts: Vec::new(),
        disk: world.disk,
        work: Work::default(),
        mail_in,
        witness: world.witness,
        ready_to_tell: world.ready,
        halt: None,
    };
    driver.step(Input::Start);
    let ended = driver.turn(mail, world.stop, listening).await;
    for acceptor in acceptors {
        // They end by themselves, now that nobody listens; a panic in one has been reported.
        let _ = acceptor.await;
    }
    if let Some(witness) = &mut driver.witness {
        witness.end();
    }
    (ended, driver.disk)
}

struct Driver<M> {
    machine: M,
    clock: Clock,
    effects: Effects,
    conns: HashMap<ConnId, Conn>,
    conns_opened: u64,
    connections_max: usize,
    teller: Teller,
    frame_memory: FrameMemory,
    /// Inputs that are due before the loop waits.
    ready: VecDeque<Input>,
    /// Connections that may deliver what they held back.
    resumed: VecDeque<ConnId>,
    /// Disk operations of the batch in work.
    ops: Vec<(Token, DiskOp)>,
    done: Vec<Completion>,
    facts: Vec<(Token, Facts)>,
    disk: Box<dyn Disk>,
    work: Work,
    mail_in: Sender<Mail>,
    witness: Option<Box<dyn Witness>>,
    ready_to_tell: Option<oneshot::Sender<()>>,
    halt: Option<Halt>,
}

/// The driver's side of a connection.
struct Conn {
    /// `None` once the core has asked to close: the task ends when it has sent the rest.
    out: Option<UnboundedSender<Parts>>,
    control: watch::Sender<Control>,
    paused: bool,
    /// What arrived while paused.
    held: VecDeque<Bytes>,
}

impl<M: Machine> Driver<M> {
    /// Takes inputs until the machine halts.
    async fn turn(
        &mut self,
        mut mail: Receiver<Mail>,
        mut stop: Receiver<Stop>,
        listening: watch::Sender<()>,
    ) -> Ended {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut stopping = false;
        loop {
            self.settle();
            if let Some(halt) = self.halt.take() {
                drop(listening);
                self.farewell(&mut mail).await;
                return Ended::Halted(halt);
            }
            let wakeup = self.wakeup();
            tokio::select! {
                biased;
                Some(Stop::Gracefully) = stop.recv() => {
                    if stopping {
                        return Ended::Forced;
                    }
                    stopping = true;
                    self.step(Input::Shutdown);
                }
                () = poll_fn(|cx| self.disk.poll(cx, &mut self.done)) => self.completed(),
                () = poll_fn(|cx| self.work.poll(cx, &mut self.facts)) => {
                    let worked = |(token, facts)| Input::Worked { token, facts };
                    self.ready.extend(self.facts.drain(..).map(worked));
                }
                _ = mail.recv_many(&mut batch, BATCH_MAX) => {
                    for letter in batch.drain(..) {
                        self.read(letter);
                    }
                }
                () = until(wakeup) => {}
                () = sleep(IDLE), if self.witness.is_some() => {
                    if let Some(witness) = &mut self.witness {
                        witness.idle();
                    }
                }
            }
            if self.wakeup().is_some_and(|at| at <= Instant::now()) {
                self.step(Input::Wakeup);
            }
        }
    }

    fn wakeup(&self) -> Option<Instant> {
        let (at, _) = self.machine.next_wakeup()?;
        Some(self.clock.moment(at))
    }

    /// Works off everything that is due now, and what comes of it.
    fn settle(&mut self) {
        while self.halt.is_none() {
            if let Some(input) = self.ready.pop_front() {
                self.step(input);
            } else if let Some(conn) = self.resumed.pop_front() {
                self.deliver(conn);
            } else if !self.ops.is_empty() {
                self.disk.submit(&mut self.ops, &mut self.done);
                self.completed();
            } else {
                return;
            }
        }
    }

    fn completed(&mut self) {
        let input = |(token, result)| Input::Disk { token, result };
        self.ready.extend(self.done.drain(..).map(input));
    }

    /// One step of the machine and its effects.
    fn step(&mut self, input: Input) {
        if self.halt.is_some() {
            return;
        }
        let now = self.clock.now();
        if let Some(witness) = &mut self.witness {
            witness.input(now, &input);
        }
        self.machine.step(now, input, &mut self.effects);
        if let Some(witness) = &mut self.witness {
            witness.effects(now, &self.effects.effects);
        }
        for event in self.effects.events.drain(..) {
            self.teller.tell(&event);
            if matches!(event, Event::Ready { .. })
                && let Some(ready) = self.ready_to_tell.take()
            {
                // Whoever wanted to know may have gone.
                let _ = ready.send(());
            }
        }
        let mut effects = std::mem::take(&mut self.effects.effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { token, host, port } => {
                drop(tokio::spawn(connect(
                    token,
                    host,
                    port,
                    self.mail_in.clone(),
                )));
            }
            Effect::Send { conn, parts } => {
                if let Some(out) = self.conns.get(&conn).and_then(|conn| conn.out.as_ref()) {
                    // The task may have ended; its last word is in the mail.
                    let _ = out.send(parts);
                }
            }
            Effect::Pause { conn } => self.control(conn, |conn, control| {
                (conn.paused, control.paused) = (true, true);
            }),
            Effect::Resume { conn } => {
                self.control(conn, |conn, control| {
                    (conn.paused, control.paused) = (false, false);
                });
                self.resumed.push_back(conn);
            }
            Effect::Close { conn, why: _ } => self.control(conn, |conn, control| {
                control.closing = true;
                conn.out = None;
                conn.held.clear();
            }),
            Effect::FrameLimit { conn, limit } => {
                self.control(conn, |_, control| control.limit = limit);
            }
            Effect::Disk { token, op } => self.ops.push((token, op)),
            Effect::Work { token, job } => {
                if let Some(facts) = self.work.submit(token, job) {
                    self.ready.push_back(Input::Worked { token, facts });
                }
            }
            Effect::Halt { halt } => self.halt = Some(halt),
        }
    }

    fn control(&mut self, conn: ConnId, change: impl FnOnce(&mut Conn, &mut Control)) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            let mut control = *conn.control.borrow();
            change(conn, &mut control);
            conn.control.send_if_modified(|now| {
                let changed = *now != control;
                *now = control;
                changed
            });
        }
    }

    fn read(&mut self, letter: Mail) {
        match letter {
            Mail::Accepted {
                listener,
                stream,
                peer,
            } => {
                if self.conns.len() >= self.connections_max {
                    self.teller.refused(&peer, self.connections_max);
                    return;
                }
                self.open(stream, |conn| Input::Opened {
                    conn,
                    listener,
                    peer,
                });
            }
            Mail::Connected { token, result } => match result {
                Ok(stream) => self.open(stream, |conn| Input::Connected { token, conn }),
                Err(reason) => self.step(Input::ConnectFailed { token, reason }),
            },
            Mail::Frames { conn, frames } => {
                if let Some(open) = self.conns.get_mut(&conn)
                    && open.out.is_some()
                {
                    open.held.extend(frames);
                    self.deliver(conn);
                }
            }
            Mail::Sent { conn, bytes } => {
                if self.conns.contains_key(&conn) {
                    self.step(Input::Sent { conn, bytes });
                }
            }
            Mail::Ended { conn, reason } => {
                // What it held while paused goes with it: no answer could reach the peer.
                if self.conns.remove(&conn).is_some() {
                    self.step(Input::Closed { conn, reason });
                }
            }
        }
    }

    /// Names a new connection, tells the core, and starts the task with what the core then decided.
    fn open(&mut self, stream: TcpStream, input: impl FnOnce(ConnId) -> Input) {
        self.conns_opened += 1;
        let conn = ConnId(self.conns_opened);
        let (out, sending) = mpsc::unbounded_channel();
        let (control, controlled) = watch::channel(Control {
            limit: FRAME_LIMIT_UNTRUSTED,
            paused: false,
            closing: false,
        });
        let open = Conn {
            out: Some(out),
            control,
            paused: false,
            held: VecDeque::new(),
        };
        self.conns.insert(conn, open);
        self.step(input(conn));
        let mail = self.mail_in.clone();
        let memory = self.frame_memory.clone();
        drop(tokio::spawn(conn::serve(
            conn, stream, controlled, sending, mail, memory,
        )));
    }

    /// Delivers what a connection holds, as long as the core wants it.
    fn deliver(&mut self, conn: ConnId) {
        while let Some(open) = self.conns.get_mut(&conn)
            && !open.paused
        {
            match open.held.pop_front() {
                Some(frame) => self.step(Input::Frame { conn, frame }),
                None => return,
            }
        }
    }

    /// Lets the connections send what they were given, for a moment.
    async fn farewell(&mut self, mail: &mut Receiver<Mail>) {
        for conn in self.conns.values_mut() {
            conn.out = None;
            conn.control.send_modify(|control| control.closing = true);
        }
        let all_ended = async {
            while !self.conns.is_empty() {
                match mail.recv().await {
                    Some(Mail::Ended { conn, .. }) => drop(self.conns.remove(&conn)),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if timeout(FAREWELL, all_ended).await.is_err() {
            tracing::debug!("{} connections did not end in time.", self.conns.len());
        }
    }
}

/// Waits until `at`. A moment that has come lets every other task run first.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) if at <= Instant::now() => yield_now().await,
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Accepts connections until the loop listens no more.
async fn accept(
    socket: TcpListener,
    listener: ListenerId,
    mail: Sender<Mail>,
    mut listened: watch::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = listened.changed() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = peer.to_string();
                let accepted = Mail::Accepted {
                    listener,
                    stream,
                    peer,
                };
                if mail.send(accepted).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(
                    "A connection could not be accepted: {error}. Is `ulimit -n` too low?"
                );
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Opens a connection to a peer and tells what came of it.
async fn connect(token: Token, host: String, port: u16, mail: Sender<Mail>) {
    let result = match timeout(CONNECT_PATIENCE, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused,
            io::ErrorKind::TimedOut => ConnectError::TimedOut,
            // What a resolver reports has no system error code.
            _ if error.raw_os_error().is_none() => ConnectError::Unresolved,
            _ => ConnectError::Other,
        }),
        Err(_) => Err(ConnectError::TimedOut),
    };
    // Nobody reads the mail once the driver has ended.
    let _ = mail.send(Mail::Connected { token, result }).await;
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    fn run_on_tokio<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(future)
    }

    /// Halts when it is asked to.
    struct Idler;

    impl Machine for Idler {
        fn step(&mut self, _now: Now, input: Input, out: &mut Effects) {
            if input == Input::Shutdown {
                let halt = Halt::Fatal("the disk is gone".into());
                out.push(Effect::Halt { halt });
            }
        }
        fn next_wakeup(&self) -> Option<(time::Instant, Wake)> {
            None
        }
    }

    /// Has a thread that waits for a device that does not answer.
    struct HungDisk;

    impl Disk for HungDisk {
        fn submit(&mut self, _ops: &mut Vec<(Token, DiskOp)>, _done: &mut Vec<Completion>) {}
        fn poll(&mut self, _cx: &mut Context<'_>, _done: &mut Vec<Completion>) -> Poll<()> {
            Poll::Pending
        }
    }

    impl Drop for HungDisk {
        fn drop(&mut self) {
            panic!("it would wait for ever");
        }
    }

    struct Watcher(Arc<AtomicUsize>);

    impl Witness for Watcher {
        fn input(&mut self, _now: Now, _input: &Input) {}
        fn effects(&mut self, _now: Now, _effects: &[Effect]) {}
        fn idle(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn end(&mut self) {}
    }

    fn world(witness: Option<Box<dyn Witness>>) -> (World, Sender<Stop>) {
        let (ask, stop) = mpsc::channel(1);
        let world = World {
            listeners: Vec::new(),
            disk: Box::new(HungDisk),
            stop,
            connections_max: 1,
            frame_memory_bytes: 1,
            witness,
            ready: None,
        };
        (world, ask)
    }

    #[test]
    fn a_halt_does_not_wait_for_a_device() {
        run_on_tokio(async {
            let (world, ask) = world(None);
            ask.send(Stop::Gracefully).await.expect("it listens");
            let (ended, disk) = run(Idler, world).await;
            std::mem::forget(disk);
            let halt = Halt::Fatal("the disk is gone".into());
            assert_eq!(ended, Ended::Halted(halt));
        });
    }

    #[test]
    fn a_witness_learns_that_nothing_happens() {
        run_on_tokio(async {
            let told = Arc::new(AtomicUsize::new(0));
            let (world, ask) = world(Some(Box::new(Watcher(Arc::clone(&told)))));
            let stop = async {
                while told.load(Ordering::Relaxed) == 0 {
                    sleep(Duration::from_millis(10)).await;
                }
                ask.send(Stop::Gracefully).await.expect("it listens");
            };
            let both = async { tokio::join!(run(Idler, world), stop) };
            let ended = timeout(Duration::from_secs(10), both).await;
            let ((_, disk), ()) = ended.expect("it was told");
            std::mem::forget(disk);
        });
    }

    /// The core counts connections by address: it must be able to tell where that ends.
    #[test]
    fn a_peer_is_named_by_address_and_port() {
        run_on_tokio(async {
            let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let to = socket.local_addr().expect("its address");
            let (mail_in, mut mail) = mpsc::channel(1);
            let (listening, listened) = watch::channel(());
            let acceptor = tokio::spawn(accept(socket, ListenerId(0), mail_in, listened));
            let client = TcpStream::connect(to).await.expect("it listens");
            let Some(Mail::Accepted { peer, .. }) = mail.recv().await else {
                panic!("a connection was accepted");
            };
            let from = client.local_addr().expect("its address");
            assert_eq!(peer.parse(), Ok(from));
            drop(listening);
            acceptor.await.expect("no panic");
        });
    }
}
