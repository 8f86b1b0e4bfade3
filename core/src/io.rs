//! The whole boundary between the core and the world.
//!
//! # The contract
//! A driver owns connections, files and clocks. It calls [`Node::step`](crate::node::Node::step) with one [`Input`]
//! and carries out the [`Effect`]s in the order of the list. The core owns every decision; the driver owns none: it
//! never retries, reorders a connection's bytes, interprets a frame, or drops an effect.
//!
//! **Connections.** The driver names each connection with a [`ConnId`] that it never uses again, listens on
//! the listeners of [`Boot`], and cuts bytes into frames with [`wire::frame`](crate::wire::frame), up to the limit that the core
//! set (it starts at [`FRAME_LIMIT_UNTRUSTED`]). After [`Effect::Pause`] it delivers no further frame of that connection until
//! [`Effect::Resume`] (frames that it has cut already wait with it). [`Effect::Send`]s of a connection leave in order, whole;
//! [`Input::Sent`] tells as the bytes reach the operating system. After [`Effect::Close`] the driver sends what it was given before, then
//! closes, and answers with one [`Input::Closed`]; a connection that ends by itself yields one `Closed` too. No input of a
//! connection follows its `Closed`.
//!
//! **Disk.** Files and directories are ids that the core chooses. Every [`DiskOp`] is answered by exactly one
//! [`Input::Disk`] with its [`Token`], in any order; the core issues what depends on a completion only after it.
//! Operations on the entries of one directory take effect in the order of issue. An id follows its file through renames.
//! - [`DiskDone::Written`]: survives a killed process. Data of overlapping reads issued after it is seen by them.
//! - [`DiskDone::Synced`]: survives power loss. A [`DiskOp::Sync`] covers the writes, truncates and sizes of its files that
//!   *completed before it was issued*, says nothing of the files' directory entries, and blocks nothing else. It is not atomic.
//! - [`DiskOp::SyncDir`] makes the directory's entries durable as they were when it was issued: creations, renames, removals.
//! - Overwriting synced bytes leaves each 512-byte sector old or new at power loss.
//! - A failed sync is never retried by anyone.
//!
//! **Work.** [`Effect::Work`] is a pure job over payload bytes; the driver calls [`work::run`](crate::work::run), inline or on another
//! thread, and returns the facts with [`Input::Worked`], in any order.
//!
//! **Time.** Each step is given [`Now`]. After each step the driver asks
//! [`Node::next_wakeup`](crate::node::Node::next_wakeup) and sends [`Input::Wakeup`] then or soon after, unless another input came first and moved it.
//!
//! **Shutdown.** [`Input::Shutdown`] asks for a graceful stop; the core ends with [`Effect::Halt`] and accepts no step after it.

use std::fmt;

use bytes::Bytes;

pub use crate::event::CloseWhy;
pub use crate::wire::Parts;

use crate::event::Event;
use crate::ids::{ConnId, DirId, FileId, ListenerId};
use crate::mutant::Mutants;
use crate::rng::Rng;
use crate::time::Now;
use crate::work::{Facts, Job};

/// The frame limit of a connection that has not authenticated: 64 KiB.
pub const FRAME_LIMIT_UNTRUSTED: u32 = 64 * 1024;

/// Which room of the core waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    /// The log store.
    Log,
    /// The metadata quorum.
    Quorum,
    /// Requests of clients.
    Api,
}

/// Names one operation in flight. `slot` is reused, the pair (`slot`, `generation`) never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Who waits.
    pub room: Room,
    /// A place in the room's [`Pending`](crate::pending::Pending).
    pub slot: u32,
    /// How often the place was used before.
    pub generation: u32,
}

/// What a node is given when it starts, besides its configuration and seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's boot id: changes when the machine, and with it the page cache, was lost. All zero if unknown.
    pub boot_id: [u8; 16],
    /// The log directories, in the order of `log.dirs`. Each exists; its content is the core's to find out.
    pub log_dirs: Vec<LogDirBoot>,
    /// The listeners that the driver has bound, in the order of `listeners`.
    pub listeners: Vec<ListenerBoot>,
}

/// One of `log.dirs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirBoot {
    /// The id of the directory itself.
    pub dir: DirId,
    /// Its path, for messages only.
    pub path: String,
}

/// One bound listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerBoot {
    /// `PLAINTEXT`, `CONTROLLER`, … as in `listeners`.
    pub name: String,
    /// The host that it is bound to, as configured (empty: every interface).
    pub host: String,
    /// The port that it is really bound to, never 0.
    pub port: u16,
}

/// What happened in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The node starts: the first input, once.
    Start,
    /// A peer opened a connection to `listener`.
    Opened {
        /// Its name from now on.
        conn: ConnId,
        /// Where it came in.
        listener: ListenerId,
        /// The peer's address and port as text (`10.0.0.1:5000`, `[2001:db8::5]:5000`), for messages, quotas and ACLs.
        peer: String,
    },
    /// The connection that [`Effect::Connect`] asked for is open.
    Connected {
        /// The effect's token.
        token: Token,
        /// Its name from now on.
        conn: ConnId,
    },
    /// The connection that [`Effect::Connect`] asked for could not be opened.
    ConnectFailed {
        /// The effect's token.
        token: Token,
        /// Why, for the log.
        reason: ConnectError,
    },
    /// A whole frame arrived, without its length.
    Frame {
        /// On which connection.
        conn: ConnId,
        /// Header and body.
        frame: Bytes,
    },
    /// Bytes of earlier [`Effect::Send`]s reached the operating system.
    Sent {
        /// On which connection.
        conn: ConnId,
        /// How many since the last such input.
        bytes: u64,
    },
    /// The connection has ended; its name is never heard again.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// A disk operation completed.
    Disk {
        /// The effect's token.
        token: Token,
        /// What came of it.
        result: Result<DiskDone, DiskError>,
    },
    /// A job of [`Effect::Work`] is done.
    Worked {
        /// The effect's token.
        token: Token,
        /// What it found.
        facts: Facts,
    },
    /// The time of [`Node::next_wakeup`](crate::node::Node::next_wakeup) has come.
    Wakeup,
    /// The operator asks for a graceful stop.
    Shutdown,
}

/// Why an outgoing connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The name has no address.
    Unresolved,
    /// Anything else.
    Other,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed its side.
    PeerClosed,
    /// Reset, or another error of the transport.
    Failed,
    /// A frame's length was negative or above the limit.
    FrameLimit,
    /// The core asked for it.
    Asked,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection to a peer; answered by `Connected` or `ConnectFailed`.
    Connect {
        /// For the answer.
        token: Token,
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Send these bytes, after everything sent before on that connection. A whole frame, length included.
    Send {
        /// Where to.
        conn: ConnId,
        /// What.
        parts: Parts,
    },
    /// Deliver no further frame of the connection; stop reading it.
    Pause {
        /// Which.
        conn: ConnId,
    },
    /// Deliver frames again.
    Resume {
        /// Which.
        conn: ConnId,
    },
    /// Send what was given before, then close.
    Close {
        /// Which.
        conn: ConnId,
        /// Why, for the log.
        why: CloseWhy,
    },
    /// Frames of the connection may be this long from now on, in bytes.
    FrameLimit {
        /// Which.
        conn: ConnId,
        /// `socket.request.max.bytes` once the peer is trusted.
        limit: u32,
    },
    /// A disk operation; answered by `Disk`.
    Disk {
        /// For the answer.
        token: Token,
        /// What.
        op: DiskOp,
    },
    /// A job over payload bytes; answered by `Worked`.
    Work {
        /// For the answer.
        token: Token,
        /// What.
        job: Job,
    },
    /// The node has ended; the driver closes everything and stops.
    Halt {
        /// How.
        halt: Halt,
    },
}

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// After [`Input::Shutdown`]: everything is synced, the clean-shutdown markers are written.
    Clean,
    /// The node cannot go on: what, why, and what to do next. Exit code 1.
    Fatal(String),
}

/// One component of a path: not empty, at most 255 bytes, neither `.` nor `..`, without `/` and NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks `name`; `None` if it is no single path component.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Option<Name> {
        let name = name.into();
        let fits = !name.is_empty() && name.len() <= 255 && name != "." && name != "..";
        (fits && !name.contains(['/', '\0'])).then_some(Name(name))
    }

    /// The component.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One operation on a log directory. The comment of each says what completes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Make `name` in `parent` and open it as `dir`. [`DiskDone::Done`], or [`DiskError::Exists`].
    MakeDir {
        /// Where.
        parent: DirId,
        /// New entry.
        name: Name,
        /// Its id from now on.
        dir: DirId,
    },
    /// Open an existing directory as `dir`. [`DiskDone::Done`], or [`DiskError::NotFound`].
    OpenDir {
        /// Where.
        parent: DirId,
        /// Entry.
        name: Name,
        /// Its id from now on.
        dir: DirId,
    },
    /// Forget the id of a directory. [`DiskDone::Done`].
    CloseDir {
        /// Which.
        dir: DirId,
    },
    /// Remove an empty directory; open ids of it stay valid for closing only. [`DiskDone::Done`].
    RemoveDir {
        /// Where.
        parent: DirId,
        /// Entry.
        name: Name,
    },
    /// One page of entries, in byte order of their names. [`DiskDone::Listed`].
    List {
        /// Of which directory.
        dir: DirId,
        /// Start after this name; `None`: from the first.
        after: Option<Name>,
        /// At most so many entries.
        limit: u32,
    },
    /// Create an empty file and open it as `file`. [`DiskDone::Done`], or [`DiskError::Exists`].
    Create {
        /// Where.
        dir: DirId,
        /// New entry.
        name: Name,
        /// Its id from now on.
        file: FileId,
    },
    /// Open an existing file as `file` for reading and writing. [`DiskDone::Opened`], or [`DiskError::NotFound`].
    Open {
        /// Where.
        dir: DirId,
        /// Entry.
        name: Name,
        /// Its id from now on.
        file: FileId,
    },
    /// Forget the id of a file. [`DiskDone::Done`]. Promises no durability.
    Close {
        /// Which.
        file: FileId,
    },
    /// Rename a file or directory within `dir`, replacing a file that has the new name. [`DiskDone::Done`].
    Rename {
        /// Where.
        dir: DirId,
        /// Old entry.
        from: Name,
        /// New entry.
        to: Name,
    },
    /// Remove a file's entry; open ids stay valid. [`DiskDone::Done`], or [`DiskError::NotFound`].
    Unlink {
        /// Where.
        dir: DirId,
        /// Entry.
        name: Name,
    },
    /// Make the entries of `dir` durable. [`DiskDone::Synced`].
    SyncDir {
        /// Which.
        dir: DirId,
    },
    /// Write all of `data` at byte `at`, growing the file as needed. [`DiskDone::Written`].
    Write {
        /// Which file.
        file: FileId,
        /// Byte position.
        at: u64,
        /// What.
        data: Parts,
    },
    /// Read up to `len` bytes at `at`; short at the end of the file. [`DiskDone::Read`].
    Read {
        /// Which file.
        file: FileId,
        /// Byte position.
        at: u64,
        /// At most so many bytes.
        len: u32,
    },
    /// Set the file's length; a longer one is filled with zeros. [`DiskDone::Done`].
    Truncate {
        /// Which file.
        file: FileId,
        /// New length in bytes.
        len: u64,
    },
    /// Reserve room for the first `len` bytes without changing the file's length. [`DiskDone::Done`], also where that cannot be done; or
    /// [`DiskError::Full`].
    Allocate {
        /// Which file.
        file: FileId,
        /// Bytes.
        len: u64,
    },
    /// Make what completed before durable, of these files of one log directory. [`DiskDone::Synced`]. A driver may sync more.
    Sync {
        /// The log directory that they are in: an id of [`Boot::log_dirs`].
        root: DirId,
        /// Which; none twice.
        files: Vec<FileId>,
    },
}

/// What a disk operation brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskDone {
    /// It took effect.
    Done,
    /// The bytes are in the file: they survive a killed process.
    Written,
    /// Everything that it covers survives power loss.
    Synced,
    /// The file is open.
    Opened {
        /// Its length in bytes.
        len: u64,
    },
    /// What was read.
    Read(Bytes),
    /// A page of a directory.
    Listed {
        /// Entries, in byte order of their names.
        entries: Vec<Entry>,
        /// There are further ones after the last.
        more: bool,
    },
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name. An entry whose name is no [`Name`] (not UTF-8) is left out by the driver.
    pub name: Name,
    /// Is it a directory?
    pub dir: bool,
    /// A file's length in bytes; 0 for a directory.
    pub len: u64,
}

/// Why a disk operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No such entry.
    NotFound,
    /// The entry is there already.
    Exists,
    /// No room left.
    Full,
    /// The directory to remove has entries.
    NotEmpty,
    /// The process or the machine has as many files open as it may: nothing was done, and nothing is in doubt.
    TooManyOpen,
    /// EIO and everything else: the content is in doubt.
    Failed,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskError::NotFound => "no such file or directory",
            DiskError::Exists => "it exists already",
            DiskError::Full => "no space left on the device",
            DiskError::NotEmpty => "the directory is not empty",
            DiskError::TooManyOpen => "too many files are open",
            DiskError::Failed => "the device or file system reported an error",
        })
    }
}

/// What one step asks for and tells; a driver reuses one and drains it after each step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To be carried out, in this order.
    pub effects: Vec<Effect>,
    /// What happened, for logs, metrics, traces and coverage; changes nothing.
    pub events: Vec<Event>,
}

impl Effects {
    /// Adds an effect.
    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Adds a disk operation.
    pub fn disk(&mut self, token: Token, op: DiskOp) {
        self.effects.push(Effect::Disk { token, op });
    }

    /// Tells an event.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Tells that a rare branch was reached.
    pub fn mark(&mut self, mark: crate::mark::Mark) {
        self.events.push(Event::Mark(mark));
    }
}

/// What [`Node::step`](crate::node::Node::step) hands down to a room that may issue effects: the moment, where effects go, the keyed
/// randomness and the broken rule, if any. Borrowed for one call, never kept.
#[derive(Debug)]
pub struct Cx<'a> {
    /// Both clocks at this step.
    pub now: Now,
    /// Where effects and events go.
    pub out: &'a mut Effects,
    /// The node's randomness.
    pub rng: &'a Rng,
    /// The rule that is broken in this node: none, outside the simulator's mutant runs.
    pub mutants: Mutants,
}

/// Why a node wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// Long work goes on in its next piece, now.
    Continue,
    /// A waiting fetch has waited long enough.
    DelayedFetch,
    /// A waiting produce has waited long enough.
    DelayedProduce,
    /// Appends wait for a sync round.
    SyncRound,
    /// A log is due for a time-based roll, flush or retention.
    LogMaintenance,
    /// Connections are due for the idle check.
    IdleConnections,
    /// Producer ids are due for expiry.
    ProducerExpiry,
    /// Checkpoints are due.
    Checkpoint,
    /// A request to the controller waits for commit until its timeout.
    ControllerTimeout,
}
