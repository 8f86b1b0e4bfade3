//! One connection: bytes to frames, and parts to bytes.
//!
//! A task owns the socket and knows nothing but lengths. It cuts frames with the core's decoder up to the limit that the
//! core set, stops reading while paused or while a large frame has no place in memory, gathers what is to be sent into as few writes as it can without copying, and
//! tells once how it ended. A frame that has its place is read to its end even while paused: it would keep the place from others for as
//! long as the pause lasts, which the peer may have caused itself.

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use trialog_core::ids::{ConnId, ListenerId};
use trialog_core::io::{CloseReason, ConnectError, Parts, Token};
use trialog_core::wire::frame::{FrameDecoder, LENGTH_BYTES};

use self::halves::{ReadSide, WriteSide};
use crate::frame_memory::{FREE, FrameMemory, Place};

/// The kernel takes at most so many slices at once.
const SLICES_MAX: usize = 64;
/// A peer that is being closed may take this long over each part of its last answers.
const CLOSING_PATIENCE: Duration = Duration::from_secs(1);
/// So long the peer may take to close its own side. Closing before it does may destroy answers on their way.
const LINGER: Duration = Duration::from_millis(250);

/// What the core decided about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Frames may be this long.
    pub limit: u32,
    /// Read nothing for now.
    pub paused: bool,
    /// Flush, then end.
    pub closing: bool,
}

/// What the tasks tell the driver.
#[derive(Debug)]
pub enum Mail {
    /// A listener accepted a connection.
    Accepted {
        /// Which listener.
        listener: ListenerId,
        /// The socket.
        stream: TcpStream,
        /// The peer's address and port.
        peer: String,
    },
    /// An outgoing connection is open, or could not be opened.
    Connected {
        /// Of the effect that asked for it.
        token: Token,
        /// The socket.
        result: Result<TcpStream, ConnectError>,
    },
    /// Whole frames arrived.
    Frames {
        /// On which connection.
        conn: ConnId,
        /// At least one, in order.
        frames: Vec<Bytes>,
    },
    /// Bytes reached the operating system.
    Sent {
        /// On which connection.
        conn: ConnId,
        /// How many.
        bytes: u64,
    },
    /// The connection is over: the last word of its task.
    Ended {
        /// Which connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// Runs a connection to its end.
pub async fn serve(
    conn: ConnId,
    stream: TcpStream,
    control: watch::Receiver<Control>,
    out: UnboundedReceiver<Parts>,
    mail: Sender<Mail>,
    memory: FrameMemory,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection {conn} keeps Nagle's delay");
    }
    let (mut reading, mut writing) = halves::split(stream);
    let reason = tokio::select! {
        biased;
        reason = write_all(conn, &mut writing, control.clone(), out, &mail) => reason,
        reason = read_all(conn, &mut reading, control, &mail, &memory) => reason,
    };
    if reason == CloseReason::Asked && writing.shutdown().await.is_ok() {
        // The peer ends first, or time does: either is the end.
        let _ = timeout(LINGER, discard(&mut reading)).await;
    }
    // Nobody reads the mail once the driver has ended.
    let _ = mail.send(Mail::Ended { conn, reason }).await;
}

/// Reads until the peer ends.
async fn discard(from: &mut ReadSide) {
    let mut scratch = [0; 4096];
    while matches!(from.read(&mut scratch).await, Ok(n) if n > 0) {}
}

/// Cuts what arrives into frames until the peer ends, fails, or breaks the limit. Once the connection is closing it
/// leaves the last word to the writing side.
async fn read_all(
    conn: ConnId,
    from: &mut ReadSide,
    mut control: watch::Receiver<Control>,
    mail: &Sender<Mail>,
    memory: &FrameMemory,
) -> CloseReason {
    let mut decoder = FrameDecoder::new(control.borrow().limit);
    let mut place: Option<Place> = None;
    #[cfg(madsim)]
    let mut unfinished = crate::frame_memory::observed::Unfinished::default();
    loop {
        let now = *control.borrow_and_update();
        if now.closing {
            return pending().await;
        }
        decoder.set_limit(now.limit);
        let large = decoder.frame_len().filter(|bytes| *bytes > FREE);
        let free = LENGTH_BYTES + FREE;
        let wanted = large.filter(|_| place.is_none() && decoder.buffered() >= free);
        let overdue_at = place.as_ref().map(Place::overdue_at);
        // Not a byte beyond it: what is read is held.
        let room = match (&place, large) {
            (Some(_), Some(bytes)) => LENGTH_BYTES + bytes,
            _ => free,
        };
        let room = room.saturating_sub(decoder.buffered());
        let mut space = decoder.space(room).limit(room);
        let reads = (!now.paused || place.is_some()) && wanted.is_none();
        let read = tokio::select! {
            biased;
            changed = control.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return pending().await,
            },
            given = memory.place(wanted.unwrap_or(0)), if !now.paused && wanted.is_some() => {
                place = Some(given);
                continue;
            }
            read = read_some(from, &mut space, reads) => read,
            () = sleep_until(overdue_at.unwrap_or_else(Instant::now)), if overdue_at.is_some() => {
                if memory.is_short() {
                    if let Some(closed) = memory.took_away() {
                        let came = decoder.buffered().saturating_sub(LENGTH_BYTES);
                        let all = large.unwrap_or(0);
                        tracing::warn!("Closed {closed} connections whose frames came too slowly while others waited for memory; the last is {conn}, with {came} of {all} bytes.");
                    }
                    return CloseReason::Failed;
                }
                if let Some(place) = &mut place {
                    place.forgive();
                }
                continue;
            }
        };
        match read {
            Ok(0) => return CloseReason::PeerClosed,
            Ok(bytes) => {
                if let Some(place) = &mut place {
                    place.got_more(bytes);
                }
            }
            Err(_) => return CloseReason::Failed,
        }
        let mut frames = Vec::new();
        let fault = loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        if !frames.is_empty() {
            place = None;
        }
        #[cfg(madsim)]
        {
            planted::split_length(&mut decoder, now.limit);
            unfinished.is(decoder.buffered().saturating_sub(LENGTH_BYTES));
        }
        if !frames.is_empty() && mail.send(Mail::Frames { conn, frames }).await.is_err() {
            return CloseReason::Failed;
        }
        if let Some(fault) = fault {
            tracing::warn!("Closed connection {conn}: {fault}.");
            return CloseReason::FrameLimit;
        }
    }
}

/// Reads once. If nothing may be read now, waits until the connection is lost: what came before a reset is lost with it, what came
/// before an orderly end is not.
async fn read_some(from: &mut ReadSide, space: &mut impl BufMut, reads: bool) -> io::Result<usize> {
    if reads {
        from.read_buf(space).await
    } else {
        halves::reset(from).await;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// Sends what the driver gives, in order, until the driver gives no more.
async fn write_all(
    conn: ConnId,
    to: &mut WriteSide,
    mut control: watch::Receiver<Control>,
    mut out: UnboundedReceiver<Parts>,
    mail: &Sender<Mail>,
) -> CloseReason {
    let mut batch = Vec::new();
    let mut slices = VecDeque::new();
    while out.recv_many(&mut batch, SLICES_MAX).await > 0 {
        #[cfg(madsim)]
        planted::reorder(&mut batch);
        for parts in batch.drain(..) {
            slices.extend(parts.slices().iter().cloned());
        }
        while !slices.is_empty() {
            let wrote = tokio::select! {
                biased;
                wrote = write_some(to, &mut slices) => wrote,
                () = lost_patience(&mut control) => return CloseReason::Asked,
            };
            match wrote {
                Ok(bytes) => {
                    if mail.send(Mail::Sent { conn, bytes }).await.is_err() {
                        return CloseReason::Failed;
                    }
                }
                Err(_) => return CloseReason::Failed,
            }
        }
    }
    CloseReason::Asked
}

/// Ends when the connection has been closing for too long without a write getting through.
async fn lost_patience(control: &mut watch::Receiver<Control>) {
    while !control.borrow_and_update().closing {
        if control.changed().await.is_err() {
            break;
        }
    }
    sleep(CLOSING_PATIENCE).await;
}

/// One gathered write of the front of `slices`; takes off what was written.
async fn write_some(to: &mut WriteSide, slices: &mut VecDeque<Bytes>) -> io::Result<u64> {
    let gathered: Vec<IoSlice<'_>> = slices
        .iter()
        .take(SLICES_MAX)
        .map(|slice| IoSlice::new(slice))
        .collect();
    let written = to.write_vectored(&gathered).await?;
    to.flush().await?;
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut left = written;
    while let Some(front) = slices.front_mut() {
        if left < front.len() {
            front.advance(left);
            break;
        }
        left -= front.len();
        slices.pop_front();
        if left == 0 {
            break;
        }
    }
    Ok(written as u64)
}

/// The two sides of a socket.
#[cfg(not(madsim))]
mod halves {
    use tokio::io::Interest;
    use tokio::net::TcpStream;
    pub(super) use tokio::net::tcp::{OwnedReadHalf as ReadSide, OwnedWriteHalf as WriteSide};

    pub(super) fn split(stream: TcpStream) -> (ReadSide, WriteSide) {
        stream.into_split()
    }

    /// Waits until the connection is reset. Needs no reading.
    pub(super) async fn reset(from: &mut ReadSide) {
        while matches!(from.ready(Interest::ERROR).await, Ok(ready) if !ready.is_error()) {}
    }
}

/// The two sides of a simulated socket, which does not tell of a reset.
#[cfg(madsim)]
mod halves {
    use std::future::pending;
    use tokio::io::{ReadHalf, WriteHalf};
    use tokio::net::TcpStream;

    pub(super) type ReadSide = ReadHalf<TcpStream>;
    pub(super) type WriteSide = WriteHalf<TcpStream>;

    pub(super) fn split(stream: TcpStream) -> (ReadSide, WriteSide) {
        tokio::io::split(stream)
    }

    pub(super) async fn reset(_: &mut ReadSide) {
        pending().await
    }
}

/// Bugs of the shell, put back on purpose, so that its simulation can be judged by whether it finds them.
#[cfg(madsim)]
pub mod planted {
    use std::sync::atomic::{AtomicBool, Ordering};

    use trialog_core::io::Parts;
    use trialog_core::wire::frame::{FrameDecoder, LENGTH_BYTES};

    /// Two answers that wait together leave in the wrong order.
    pub static REORDER: AtomicBool = AtomicBool::new(false);
    /// What has arrived of a length that is not whole is forgotten.
    pub static SPLIT_LENGTH: AtomicBool = AtomicBool::new(false);

    pub(super) fn reorder(batch: &mut [Parts]) {
        if REORDER.load(Ordering::Relaxed) && batch.len() > 1 {
            batch.swap(0, 1);
        }
    }

    pub(super) fn split_length(decoder: &mut FrameDecoder, limit: u32) {
        if SPLIT_LENGTH.load(Ordering::Relaxed) && (1..LENGTH_BYTES).contains(&decoder.buffered()) {
            *decoder = FrameDecoder::new(limit);
        }
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{self, Receiver, UnboundedSender};

    const FRAME: usize = 1_000_000;
    /// Far more than a place is kept from others.
    const SOON: Duration = Duration::from_secs(5);

    struct Served {
        peer: TcpStream,
        control: watch::Sender<Control>,
        mail: Receiver<Mail>,
        memory: FrameMemory,
        out: UnboundedSender<Parts>,
    }

    /// A connection that is paused in the middle of a frame, which fills the memory.
    async fn paused_in_a_frame() -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let (peer, accepted) = tokio::join!(peer, listener.accept());
        let (mut peer, (stream, _)) = (peer.unwrap(), accepted.unwrap());
        let (control, controlled) = watch::channel(Control {
            limit: u32::try_from(FRAME).unwrap(),
            paused: false,
            closing: false,
        });
        let (out, sending) = mpsc::unbounded_channel();
        let (letters, mail) = mpsc::channel(8);
        let memory = FrameMemory::new(FRAME as u64);
        let serving = serve(
            ConnId(1),
            stream,
            controlled,
            sending,
            letters,
            memory.clone(),
        );
        drop(tokio::spawn(serving));
        peer.write_u32(u32::try_from(FRAME).unwrap()).await.unwrap();
        peer.write_all(&[0; 2 * FREE]).await.unwrap();
        // Until it has its place.
        while timeout(Duration::from_millis(5), memory.place(FRAME))
            .await
            .is_ok()
        {}
        control.send_modify(|control| control.paused = true);
        Served {
            peer,
            control,
            mail,
            memory,
            out,
        }
    }

    #[tokio::test]
    async fn a_paused_peer_does_not_keep_its_place_from_others() {
        let mut served = paused_in_a_frame().await;
        let place = timeout(SOON, served.memory.place(FRAME)).await;
        assert!(place.is_ok(), "nothing comes of its frame");
        let told = served.mail.recv().await;
        assert!(matches!(told, Some(Mail::Ended { .. })), "{told:?}");
    }

    #[tokio::test]
    async fn a_frame_that_has_its_place_is_read_while_paused_and_nothing_behind_it() {
        let mut served = paused_in_a_frame().await;
        let rest = [0; FRAME - 2 * FREE];
        served.peer.write_all(&rest).await.unwrap();
        served.peer.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
        let told = timeout(SOON, served.mail.recv()).await;
        let Ok(Some(Mail::Frames { frames, .. })) = told else {
            panic!("{told:?}");
        };
        assert_eq!((frames.len(), frames[0].len()), (1, FRAME));
        let place = timeout(SOON, served.memory.place(FRAME)).await;
        assert!(place.is_ok(), "it is not given back");
        let next = timeout(Duration::from_millis(50), served.mail.recv()).await;
        assert!(next.is_err(), "it is paused: {next:?}");
        served.control.send_modify(|control| control.paused = false);
        let next = timeout(SOON, served.mail.recv()).await;
        assert!(matches!(next, Ok(Some(Mail::Frames { .. }))), "{next:?}");
    }

    #[tokio::test]
    async fn a_reset_is_seen_while_paused() {
        let mut served = paused_in_a_frame().await;
        let rest = [0; FRAME - 2 * FREE];
        served.peer.write_all(&rest).await.unwrap();
        let told = served.mail.recv().await;
        assert!(matches!(told, Some(Mail::Frames { .. })), "{told:?}");
        // A peer that ends without having read what came is reset.
        let parts = Parts::from(Bytes::from_static(b"unread"));
        served.out.send(parts).unwrap();
        let told = served.mail.recv().await;
        assert!(matches!(told, Some(Mail::Sent { .. })), "{told:?}");
        served.peer.readable().await.unwrap();
        drop(served.peer);
        let told = timeout(SOON, served.mail.recv()).await;
        assert!(matches!(told, Ok(Some(Mail::Ended { .. }))), "{told:?}");
    }
}
