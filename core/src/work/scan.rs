//! Lists the batches of a block and checks each CRC: recovery and cold reads learn of the disk through this alone.

use bytes::Bytes;

use super::records::first_record;
use super::{EndMarker, ScanRest, Scanned, ScannedBatch};
use crate::wire::batch::{BatchError, BatchHeader, HEADER_LEN, batches, checksum};

/// Scans `block` from a batch boundary up to the first damage.
pub fn scan(block: &Bytes) -> Scanned {
    let mut found = Vec::new();
    let mut at = 0;
    for batch in batches(block) {
        let place = u32::try_from(at).unwrap_or(u32::MAX);
        match batch {
            Ok(batch) => {
                if !is_consistent(&batch.header) {
                    return Scanned {
                        batches: found,
                        rest: ScanRest::Damage { at: place },
                    };
                }
                at += batch.bytes.len();
                let crc_holds = checksum(&batch.bytes) == batch.header.crc;
                found.push(ScannedBatch {
                    at: place,
                    header: batch.header,
                    crc_holds,
                    marker: end_marker(&batch.header, &batch.bytes),
                });
                if !crc_holds {
                    return Scanned {
                        batches: found,
                        rest: ScanRest::Nothing,
                    };
                }
            }
            Err(BatchError::Short { need }) => {
                return Scanned {
                    batches: found,
                    rest: ScanRest::Short {
                        at: place,
                        need: need as u64,
                    },
                };
            }
            Err(BatchError::Length(_) | BatchError::Magic(_)) => {
                return Scanned {
                    batches: found,
                    rest: ScanRest::Damage { at: place },
                };
            }
        }
    }
    Scanned {
        batches: found,
        rest: ScanRest::Nothing,
    }
}

/// A batch on disk may have lost records to compaction, never its place among the offsets.
fn is_consistent(header: &BatchHeader) -> bool {
    header.base_offset.0 >= 0
        && header.last_offset_delta >= 0
        && header
            .base_offset
            .0
            .checked_add(i64::from(header.last_offset_delta))
            .is_some()
        && header.count >= 0
}

/// What a control batch of a transaction says; `None` for every other batch, or if it cannot be read.
pub fn end_marker(header: &BatchHeader, batch: &Bytes) -> Option<EndMarker> {
    if !header.is_control() || !header.is_transactional() {
        return None;
    }
    let record = first_record(&batch.slice(HEADER_LEN.min(batch.len())..))?;
    let (key, value) = (record.key?, record.value?);
    // Key: version, type (0 abort, 1 commit). Value: version, coordinator epoch.
    let kind = i16::from_be_bytes(key.get(2..4)?.try_into().ok()?);
    let coordinator_epoch = i32::from_be_bytes(value.get(2..6)?.try_into().ok()?);
    match kind {
        0 | 1 => Some(EndMarker {
            commit: kind == 1,
            coordinator_epoch,
        }),
        _ => None,
    }
}
