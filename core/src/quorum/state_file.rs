//! `quorum-state`: the epoch that this voter is in and whom it voted for, as Kafka writes it (JSON, versions 0 and 1).
//!
//! Owns the text only; that it is on disk before anything of its epoch is the [quorum](super::Quorum)'s.

use crate::ids::{LeaderEpoch, NodeId, Uuid};

/// The file's name, in the directory of the metadata log.
pub const FILE_NAME: &str = "quorum-state";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// The latest epoch that this voter knows.
    pub epoch: LeaderEpoch,
    /// Who leads it; [`NodeId::NONE`] if that is not known.
    pub leader: NodeId,
    /// Whom it voted for in it; [`NodeId::NONE`] if nobody.
    pub voted: NodeId,
    /// The log directory of that node; only with kraft.version 1.
    pub voted_directory: Uuid,
}

impl QuorumState {
    /// The file's text for a quorum of the voter `voter`.
    #[must_use]
    pub fn to_text(&self, kraft_version: i16, voter: NodeId) -> String {
        let QuorumState {
            epoch,
            leader,
            voted,
            voted_directory,
        } = self;
        if kraft_version == 0 {
            return format!(
                r#"{{"clusterId":"","leaderId":{leader},"leaderEpoch":{epoch},"votedId":{voted},"appliedOffset":0,"currentVoters":[{{"voterId":{voter}}}],"data_version":0}}"#
            );
        }
        format!(
            r#"{{"leaderId":{leader},"leaderEpoch":{epoch},"votedId":{voted},"votedDirectoryId":"{voted_directory}","data_version":1}}"#
        )
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// It is no such file, or of a version that is unknown here.
    pub fn parse(text: &str) -> Result<QuorumState, String> {
        let fields =
            fields(text.lines().next().unwrap_or_default()).ok_or("it is no JSON object")?;
        let find = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        let number = |name: &str| {
            let value = find(name).ok_or_else(|| format!("it has no {name}"))?;
            value
                .parse::<i32>()
                .map_err(|_| format!("{name} is {value}, which is no number"))
        };
        let version = number("data_version")?;
        if !(0..=1).contains(&version) {
            return Err(format!(
                "its data_version is {version}; this release reads 0 and 1"
            ));
        }
        let voted_directory = match find("votedDirectoryId") {
            Some(id) if version == 1 => id
                .trim_matches('"')
                .parse()
                .map_err(|_| format!("votedDirectoryId is {id}, which is no id"))?,
            _ => Uuid::ZERO,
        };
        Ok(QuorumState {
            epoch: LeaderEpoch(number("leaderEpoch")?),
            leader: NodeId(number("leaderId")?),
            voted: NodeId(number("votedId")?),
            voted_directory,
        })
    }
}

/// The members of a JSON object, values as they are written. Enough for a file that machines write: keys have no escapes.
fn fields(text: &str) -> Option<Vec<(&str, &str)>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut fields = Vec::new();
    let (mut depth, mut quoted, mut escaped, mut start) = (0_i32, false, false, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted && at < inside.len() => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 && !quoted => {
                let member = inside[start..at].trim();
                start = (at + 1).min(inside.len());
                if member.is_empty() && fields.is_empty() && at == inside.len() {
                    break;
                }
                let (key, value) = member.split_once(':')?;
                fields.push((
                    key.trim().strip_prefix('"')?.strip_suffix('"')?,
                    value.trim(),
                ));
            }
            _ => {}
        }
    }
    (depth == 0 && !quoted).then_some(fields)
}
