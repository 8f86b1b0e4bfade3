//! What stands on the disk below what was promised: whole batches, one after the other.
//!
//! No client can tell why a broker does not answer for a partition; the disk says it. A batch that recovery kept although it
//! was torn is refused at every read, and nobody gets past it to what was acknowledged behind it. Owns this rule only; who
//! has rotted is the judge's knowledge.

use bytes::Bytes;
use trialog_core::wire::batch;

use crate::disk::Disk;

/// Are the batches of the log in `dir` whole and dense below `promised_end`? Between segments some may have been deleted.
///
/// # Errors
/// The first one that is not.
pub fn is_whole(disk: &Disk, root: usize, dir: &str, promised_end: i64) -> Result<(), String> {
    for name in disk.list(root, &[dir]).unwrap_or_default() {
        let base = name.strip_suffix(".log").and_then(|base| base.parse().ok());
        let (Some(base), Some(content)) = (base, disk.content(root, &[dir], &name)) else {
            continue;
        };
        if let Err((offset, what)) = segment_is_whole(content, base, promised_end) {
            return Err(format!(
                "{dir}/{name} holds no whole batch at offset {offset}: {what}; everything below {promised_end} was promised, and nobody can read past it"
            ));
        }
    }
    Ok(())
}

fn segment_is_whole(content: &[u8], base: i64, promised_end: i64) -> Result<(), (i64, String)> {
    let mut expected = base;
    for view in batch::batches(&Bytes::copy_from_slice(content)) {
        // What nobody was promised may be in the making, or torn.
        if expected >= promised_end {
            return Ok(());
        }
        let view = view.map_err(|error| (expected, format!("{error:?}")))?;
        let header = view.header;
        if header.crc != batch::checksum(&view.bytes) {
            return Err((expected, "its checksum does not hold".to_owned()));
        }
        if header.base_offset.0 != expected {
            let next = header.base_offset.0;
            return Err((expected, format!("the next one is at {next}")));
        }
        expected = header.next_offset().0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::RecordId;
    use crate::client::records::{self, Outgoing};
    use trialog_core::io::Name;
    use trialog_core::wire::batch::Compression;

    fn batch_at(offset: i64) -> Vec<u8> {
        let record = Outgoing {
            id: RecordId {
                producer: 0,
                nth: 0,
            },
            timestamp: 0,
            len: 20,
        };
        let mut bytes = records::batch(&[record], None, Compression::None).to_vec();
        bytes[..8].copy_from_slice(&offset.to_be_bytes());
        bytes
    }

    fn judged(batches: &[Vec<u8>], promised_end: i64) -> Result<(), String> {
        let mut disk = Disk::new(1);
        let name = |name: &str| Name::new(name).expect("a name");
        let segment = name("00000000000000000000.log");
        disk.install(0, Some(&name("t-0")), &segment, &batches.concat());
        is_whole(&disk, 0, "t-0", promised_end)
    }

    #[test]
    fn damage_and_gaps_are_seen_below_the_promise_only() {
        let mut torn = batch_at(1);
        let last = torn.len() - 1;
        torn[last] ^= 1;
        let log = [batch_at(0), torn, batch_at(2)];
        assert_eq!(judged(&log, 1), Ok(()));
        assert!(judged(&log, 2).is_err());
        let gap = [batch_at(0), batch_at(2)];
        assert_eq!(judged(&gap, 1), Ok(()));
        assert!(judged(&[batch_at(7)], 3).is_err());
        assert!(judged(&gap, 3).is_err());
        assert!(judged(&[batch_at(0), vec![0; 70]], 2).is_err());
        assert_eq!(judged(&[vec![0; 70]], 0), Ok(()));
    }
}
