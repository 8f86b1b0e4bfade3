//! The small text files of a log directory and of a partition, in Kafka's formats.
//!
//! Owns their bytes both ways, nothing of when they are written. A file that cannot be read is told apart from an empty one.

use std::fmt::Write;

use bytes::{Buf, Bytes};

use crate::ids::{LeaderEpoch, Offset, PartitionIndex, Uuid};

/// Of every log of a directory, where recovery begins.
pub(super) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// First offsets that no file name tells.
pub(super) const START_OFFSETS: &str = "log-start-offset-checkpoint";
/// High watermarks.
pub(super) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// There since the last stop was clean.
pub(super) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Whose directory it is.
pub(super) const META_PROPERTIES: &str = "meta.properties";
/// Of a partition: its topic's id.
pub(super) const PARTITION_METADATA: &str = "partition.metadata";
/// Of a partition: its leaders' epochs.
pub(super) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

/// A log in a checkpoint file: its topic's name and its number.
pub(super) type Key = (String, PartitionIndex);

/// Room for what stands before the lines of a checkpoint file.
const HEAD_ROOM: usize = 24;

/// Puts an offset checkpoint file together: version 0, count, one `topic partition offset` a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffsetsWriter {
    text: String,
    lines: usize,
}

impl Default for OffsetsWriter {
    fn default() -> OffsetsWriter {
        OffsetsWriter {
            text: " ".repeat(HEAD_ROOM),
            lines: 0,
        }
    }
}

impl OffsetsWriter {
    /// Adds a line. Of two about one log, who reads the file believes the later.
    pub(super) fn add(&mut self, topic: &str, partition: PartitionIndex, offset: Offset) {
        let _ = writeln!(self.text, "{topic} {partition} {offset}");
        self.lines += 1;
    }

    /// The file.
    pub(super) fn finish(self) -> Bytes {
        let head = format!("0\n{}\n", self.lines);
        let mut file = self.text.into_bytes();
        let from = HEAD_ROOM - head.len();
        file[from..HEAD_ROOM].copy_from_slice(head.as_bytes());
        Bytes::from(file).slice(from..)
    }
}

/// Reads an offset checkpoint file line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffsetsReader {
    left: Bytes,
    /// Lines that must still come.
    lines: usize,
}

impl OffsetsReader {
    /// Reads `file`; `None` if it is damaged where it begins. Kafka creates these files empty.
    pub(super) fn new(file: Bytes) -> Option<OffsetsReader> {
        let mut reader = OffsetsReader {
            left: file,
            lines: 0,
        };
        if !reader.left.is_empty() {
            if text(&reader.line()?)? != "0" {
                return None;
            }
            reader.lines = text(&reader.line()?)?.parse().ok()?;
        }
        Some(reader)
    }

    /// What the next `most` lines say, and whether there are more; `None` if one is damaged or missing.
    pub(super) fn go_on(&mut self, most: usize) -> Option<(Vec<(Key, Offset)>, bool)> {
        let mut offsets = Vec::new();
        for _ in 0..most {
            let Some(line) = self.line() else { break };
            let mut words = text(&line)?.split_whitespace();
            let Some(topic) = words.next() else { continue };
            let partition = PartitionIndex(words.next()?.parse().ok()?);
            let offset = Offset(words.next()?.parse().ok()?);
            if words.next().is_some() {
                return None;
            }
            self.lines = self.lines.checked_sub(1)?;
            offsets.push(((topic.to_owned(), partition), offset));
        }
        let more = !self.left.is_empty();
        (more || self.lines == 0).then_some((offsets, more))
    }

    fn line(&mut self) -> Option<Bytes> {
        if self.left.is_empty() {
            return None;
        }
        let end = self.left.iter().position(|byte| *byte == b'\n');
        let line = self.left.split_to(end.unwrap_or(self.left.len()));
        if end.is_some() {
            self.left.advance(1);
        }
        Some(line)
    }
}

fn text(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line).ok().map(str::trim)
}

/// The lines after version and count; `None` if the file is damaged. Kafka creates these files empty.
fn lines(file: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(file).ok()?;
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut lines = text.lines();
    if lines.next()?.trim() != "0" {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let rest: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    (rest.len() == count).then_some(rest)
}

/// A `leader-epoch-checkpoint`: version 0, count, one `epoch offset` a line.
pub(super) fn encode_epochs(entries: &[(LeaderEpoch, Offset)]) -> Vec<u8> {
    let mut text = format!("0\n{}\n", entries.len());
    for (epoch, offset) in entries {
        let _ = writeln!(text, "{epoch} {offset}");
    }
    text.into_bytes()
}

/// Reads a `leader-epoch-checkpoint`; `None` if it is damaged.
pub(super) fn decode_epochs(file: &[u8]) -> Option<Vec<(LeaderEpoch, Offset)>> {
    lines(file)?
        .into_iter()
        .map(|line| {
            let (epoch, offset) = line.trim().split_once(' ')?;
            Some((
                LeaderEpoch(epoch.parse().ok()?),
                Offset(offset.trim().parse().ok()?),
            ))
        })
        .collect()
}

/// A `partition.metadata`.
pub(super) fn encode_partition_metadata(topic_id: Uuid) -> Vec<u8> {
    format!("version: 0\ntopic_id: {topic_id}").into_bytes()
}

/// The topic's id in a `partition.metadata`; `None` if it is damaged.
pub(super) fn decode_partition_metadata(file: &[u8]) -> Option<Uuid> {
    let text = std::str::from_utf8(file).ok()?;
    let mut lines = text.lines();
    if lines.next()?.trim() != "version: 0" {
        return None;
    }
    lines
        .next()?
        .trim()
        .strip_prefix("topic_id:")?
        .trim()
        .parse()
        .ok()
}

/// The content of a clean-shutdown marker. KIP-966.
pub(super) fn encode_clean_shutdown(broker_epoch: i64) -> Vec<u8> {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}").into_bytes()
}

/// What `meta.properties` says. KIP-631, KIP-858.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MetaProperties {
    pub(super) cluster_id: Option<String>,
    pub(super) node_id: Option<i32>,
    pub(super) directory_id: Option<Uuid>,
}

/// Reads a `meta.properties`; the error is a sentence.
pub(super) fn decode_meta_properties(file: &[u8]) -> Result<MetaProperties, String> {
    let text = std::str::from_utf8(file).map_err(|_| "it is not text".to_owned())?;
    let mut meta = MetaProperties::default();
    let mut version = None;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            continue;
        };
        // Java's properties escape what could be a separator.
        let value = value.trim().replace('\\', "");
        match key.trim() {
            "version" => version = Some(value),
            "cluster.id" => meta.cluster_id = Some(value),
            "node.id" | "broker.id" => {
                meta.node_id = Some(
                    value
                        .parse()
                        .map_err(|_| format!("the node id '{value}' is no number"))?,
                );
            }
            "directory.id" => {
                meta.directory_id = Some(
                    value
                        .parse()
                        .map_err(|_| format!("the directory id '{value}' is no id"))?,
                );
            }
            _ => {}
        }
    }
    match version.as_deref() {
        Some("0" | "1") => Ok(meta),
        Some(other) => Err(format!("its version '{other}' is unknown")),
        None => Err("it names no version".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_offsets(file: &'static str, most: usize) -> Option<Vec<(Key, Offset)>> {
        let mut reader = OffsetsReader::new(Bytes::from_static(file.as_bytes()))?;
        let mut offsets = Vec::new();
        loop {
            let (piece, more) = reader.go_on(most)?;
            offsets.extend(piece);
            if !more {
                return Some(offsets);
            }
        }
    }

    #[test]
    fn offset_checkpoints_are_kafkas() {
        let mut writer = OffsetsWriter::default();
        assert_eq!(writer.clone().finish(), "0\n0\n");
        writer.add("t", PartitionIndex(0), Offset(5));
        writer.add("u-1", PartitionIndex(12), Offset(0));
        let file = "0\n2\nt 0 5\nu-1 12 0\n";
        assert_eq!(writer.finish(), file);
        let offsets = vec![
            (("t".to_owned(), PartitionIndex(0)), Offset(5)),
            (("u-1".to_owned(), PartitionIndex(12)), Offset(0)),
        ];
        for most in [1, 2, 9] {
            assert_eq!(decode_offsets(file, most), Some(offsets.clone()));
            assert_eq!(decode_offsets(file.trim_end(), most), Some(offsets.clone()));
            assert_eq!(decode_offsets("0\n0\n", most), Some(Vec::new()));
            assert_eq!(decode_offsets("0\r\n0\r\n\n", most), Some(Vec::new()));
            assert_eq!(decode_offsets("", most), Some(Vec::new()));
            for bad in [
                "1\n0\n",
                "0\n2\nt 0 5\n",
                "0\n1\nt 0 5\nu 0 5\n",
                "0\n1\nt 0\n",
                "0\n1\nt 0 5 6\n",
                "0\nx\n",
                "0\n",
            ] {
                assert_eq!(decode_offsets(bad, most), None, "{bad:?}");
            }
        }
    }

    #[test]
    fn epoch_checkpoints_are_kafkas() {
        let entries = [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(17))];
        let file = encode_epochs(&entries);
        assert_eq!(file, b"0\n2\n0 0\n3 17\n");
        assert_eq!(decode_epochs(&file).as_deref(), Some(&entries[..]));
        assert_eq!(decode_epochs(b"0\n1\n"), None);
    }

    #[test]
    fn small_files_are_kafkas() {
        let id = Uuid::random_from(*b"0123456789abcdef");
        let file = encode_partition_metadata(id);
        assert_eq!(decode_partition_metadata(&file), Some(id));
        assert_eq!(decode_partition_metadata(b""), None);
        assert_eq!(
            encode_clean_shutdown(42),
            b"{\"version\":0,\"brokerEpoch\":42}"
        );
    }

    #[test]
    fn meta_properties_are_read_as_java_writes_them() {
        let text = "#\n#Sun Nov 22 00:00:00 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nversion=1\nnode.id=3\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n";
        let meta = decode_meta_properties(text.as_bytes()).expect("readable");
        assert_eq!(meta.node_id, Some(3));
        assert_eq!(meta.cluster_id.as_deref(), Some("MkU3OEVBNTcwNTJENDM2Qg"));
        assert_eq!(meta.directory_id, Some(Uuid::METADATA_TOPIC));
        assert!(decode_meta_properties(b"version=7\n").is_err());
        assert!(decode_meta_properties(b"").is_err());
        assert!(decode_meta_properties(b"version=1\nnode.id=x\n").is_err());
    }
}
