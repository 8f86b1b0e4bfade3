//! What a formatted log directory holds before its first start: `meta.properties` and `bootstrap.checkpoint`, and with a dynamic
//! quorum the snapshot that names its first voter.
//!
//! Pure: says which bytes go where. Whoever writes them syncs every file and every directory (an empty `bootstrap.checkpoint` after
//! a power cut keeps a node from starting), in the order of the list: `meta.properties` comes last and makes a directory formatted.

use bytes::Bytes;

use crate::config::Config;
use crate::ids::{LeaderEpoch, Uuid};
use crate::io::Name;
use crate::metadata::features;
use crate::quorum::checkpoint::BOOTSTRAP_FILE_NAME;
use crate::quorum::{Checkpoint, KRAFT_VERSION_MAX, SnapshotId};
use crate::wire::voters_record::{Endpoint, KRaftVersionFeature, Voter};
use crate::wire::{FeatureLevelRecord, MetadataRecord, Str, VotersRecord};

/// One file of a formatted directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatFile {
    /// The directory that it is in, below the log directory; `None`: in the log directory itself.
    pub dir: Option<Name>,
    /// Its name.
    pub name: Name,
    /// Its bytes.
    pub content: Bytes,
}

/// What to format a node with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    /// The node's configuration.
    pub config: &'a Config,
    /// The id of the cluster, the same on every node.
    pub cluster_id: &'a str,
    /// The id of each log directory, in the order of `log.dirs`.
    pub directory_ids: &'a [Uuid],
    /// Feature levels that are asked for; `metadata.version` is 4.3-IV0 if it is not among them, every other 0.
    pub features: &'a [(&'a str, i16)],
    /// The quorum is this node alone, with voters as records (`kafka-storage.sh format --standalone`).
    pub standalone: bool,
    /// The time that goes into the files, in ms.
    pub now_ms: i64,
}

impl<'a> Format<'a> {
    /// A node like any other: the default feature levels, voters in the configuration, files of the beginning of 1970.
    #[must_use]
    pub fn new(config: &'a Config, cluster_id: &'a str, directory_ids: &'a [Uuid]) -> Format<'a> {
        Format {
            config,
            cluster_id,
            directory_ids,
            features: &[],
            standalone: false,
            now_ms: 0,
        }
    }

    /// The files of each log directory, in the order of `log.dirs`, each list in the order in which it is written.
    ///
    /// # Errors
    /// Something that is asked for cannot be: what, and what to do.
    pub fn files(&self) -> Result<Vec<Vec<FormatFile>>, String> {
        self.check()?;
        let bootstrap = self.encode(&self.bootstrap()?);
        let metadata = self.config.metadata_log_dir();
        let directories = self.directory_ids.iter().enumerate().map(|(at, id)| {
            let mut files = vec![file(None, BOOTSTRAP_FILE_NAME, bootstrap.clone())];
            if self.standalone && at == metadata {
                let content = self.encode(&self.voters(*id)?);
                files.push(file(
                    Some("__cluster_metadata-0"),
                    &SnapshotId::BOOTSTRAP.file_name(),
                    content,
                ));
            }
            let text = meta_properties(self.config.node_id(), self.cluster_id, *id);
            files.push(file(None, "meta.properties", Bytes::from(text)));
            Ok(files)
        });
        directories.collect()
    }

    fn encode(&self, checkpoint: &Checkpoint) -> Bytes {
        // A level is written in version 0 whatever it is.
        checkpoint.encode(LeaderEpoch(0), self.now_ms, |_| 0)
    }

    fn check(&self) -> Result<(), String> {
        let (ids, dirs) = (self.directory_ids, self.config.log_dirs());
        if ids.len() != dirs.len() {
            return Err(format!(
                "{} directory ids were given for {} log directories",
                ids.len(),
                dirs.len()
            ));
        }
        let reserved = |id: &Uuid| {
            id.0[..8] == [0; 8] && u64::from_be_bytes(id.0[8..].try_into().unwrap_or([0; 8])) < 100
        };
        if let Some(id) = ids.iter().find(|id| reserved(id)) {
            return Err(format!(
                "the directory id {id} is reserved; choose a random one"
            ));
        }
        if let Some(at) = (1..ids.len()).find(|at| ids[..*at].contains(&ids[*at])) {
            return Err(format!("the directory id {} is given twice", ids[at]));
        }
        // As it stands in a properties file: nothing that would have to be escaped or is cut off there.
        let plain = |c: char| c.is_ascii_graphic() && c != '\\';
        if self.cluster_id.is_empty() || !self.cluster_id.chars().all(plain) {
            return Err("the cluster id must be one word of ASCII; `trialog format` makes one, or take `kafka-storage.sh random-uuid`".to_owned());
        }
        match (self.config.voters().is_empty(), self.standalone) {
            (true, false) => Err("controller.quorum.voters is not set: the quorum is dynamic, and format must be told its first voter with --standalone".to_owned()),
            (false, true) => Err("--standalone makes a dynamic quorum, but controller.quorum.voters names a static one: remove the property or the flag".to_owned()),
            _ => Ok(()),
        }
    }

    fn bootstrap(&self) -> Result<Checkpoint, String> {
        let asked = |name: &str| {
            self.features
                .iter()
                .find(|(feature, _)| *feature == name)
                .map(|(_, level)| *level)
        };
        for (name, level) in self.features {
            if *name == features::KRAFT_VERSION {
                let given = i16::from(self.standalone);
                if *level != given {
                    return Err(format!(
                        "kraft.version is {given} here: it is 1 with --standalone and 0 without"
                    ));
                }
            } else if !features::implements(name, *level) {
                let mut supported = features::SUPPORTED.iter();
                return Err(match supported.find(|feature| feature.name == *name) {
                    Some(features::Supported { min, max, .. }) => {
                        format!("this release implements {name} {min} to {max}, not {level}")
                    }
                    None => format!("this release does not have the feature {name}: leave it out"),
                });
            }
        }
        let level = asked(features::METADATA_VERSION).unwrap_or(features::METADATA_VERSION_MAX);
        let record = FeatureLevelRecord {
            name: features::METADATA_VERSION.into(),
            feature_level: level,
            ..Default::default()
        };
        Ok(Checkpoint {
            records: vec![MetadataRecord::from(record)],
            ..Checkpoint::default()
        })
    }

    fn voters(&self, directory: Uuid) -> Result<Checkpoint, String> {
        let listener = self
            .config
            .listeners()
            .iter()
            .find(|listener| self.config.is_controller_listener(&listener.name));
        let listener = listener.ok_or("controller.listener.names names no listener")?;
        let host = if listener.host.is_empty() {
            "localhost"
        } else {
            &listener.host
        };
        let endpoint = Endpoint {
            name: Str::from(listener.name.clone()),
            host: Str::from(host.to_owned()),
            port: listener.port,
            ..Default::default()
        };
        let voter = Voter {
            voter_id: self.config.node_id(),
            voter_directory_id: directory,
            endpoints: vec![endpoint],
            kraft_version_feature: KRaftVersionFeature {
                min_supported_version: 0,
                max_supported_version: KRAFT_VERSION_MAX,
                ..Default::default()
            },
            ..Default::default()
        };
        Ok(Checkpoint {
            last_timestamp: self.now_ms,
            kraft_version: 1,
            voters: Some(VotersRecord {
                voters: vec![voter],
                ..Default::default()
            }),
            records: Vec::new(),
        })
    }
}

/// The text of `meta.properties`.
#[must_use]
pub fn meta_properties(node_id: i32, cluster_id: &str, directory_id: Uuid) -> String {
    format!(
        "#\nnode.id={node_id}\ndirectory.id={directory_id}\nversion=1\ncluster.id={cluster_id}\n"
    )
}

fn file(dir: Option<&str>, name: &str, content: Bytes) -> FormatFile {
    let component = |text: &str| Name::new(text).unwrap_or_else(|| panic!("{text} is a file name"));
    FormatFile {
        dir: dir.map(component),
        name: component(name),
        content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(
        overrides: &[(&str, &str)],
        features: &[(&str, i16)],
        standalone: bool,
    ) -> Result<Vec<Vec<FormatFile>>, String> {
        let config = Config::single(1, &["/a", "/b"], overrides).expect("valid");
        let directory_ids = [Uuid([1; 16]), Uuid([2; 16])];
        Format {
            features,
            standalone,
            now_ms: 7,
            ..Format::new(&config, "AAAAAAAAQACAAAAAAAAAAQ", &directory_ids)
        }
        .files()
    }

    #[test]
    fn each_directory_gets_its_files_and_meta_properties_last() {
        let files = format(&[], &[], false).expect("fine");
        for (directory, id) in files.iter().zip([Uuid([1; 16]), Uuid([2; 16])]) {
            let names: Vec<&str> = directory.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, ["bootstrap.checkpoint", "meta.properties"]);
            let text = format!(
                "#\nnode.id=1\ndirectory.id={id}\nversion=1\ncluster.id=AAAAAAAAQACAAAAAAAAAAQ\n"
            );
            assert_eq!(directory[1].content, text);
            let checkpoint = Checkpoint::decode(&directory[0].content).expect("whole");
            assert!(
                matches!(&checkpoint.records[..], [MetadataRecord::FeatureLevel(level)] if level.feature_level == 30)
            );
        }
    }

    #[test]
    fn a_dynamic_quorum_starts_with_its_voter() {
        let dynamic = [
            ("controller.quorum.voters", ""),
            ("controller.quorum.bootstrap.servers", "127.0.0.1:9093"),
        ];
        let files = format(&dynamic, &[("metadata.version", 25)], true).expect("fine");
        assert_eq!((files[0].len(), files[1].len()), (3, 2));
        let snapshot = &files[0][1];
        assert_eq!(
            snapshot.dir.as_ref().map(Name::as_str),
            Some("__cluster_metadata-0")
        );
        assert_eq!(
            snapshot.name.as_str(),
            "00000000000000000000-0000000000.checkpoint"
        );
        let checkpoint = Checkpoint::decode(&snapshot.content).expect("whole");
        let voters = checkpoint.voters.expect("voters").voters;
        assert_eq!(
            (
                voters[0].voter_id,
                voters[0].voter_directory_id,
                voters[0].endpoints[0].port
            ),
            (1, Uuid([1; 16]), 9093)
        );
        assert!(
            format(&dynamic, &[], false)
                .expect_err("no voter")
                .contains("--standalone")
        );
    }

    #[test]
    fn what_the_quorum_implements_is_claimed() {
        assert!(features::implements(
            features::KRAFT_VERSION,
            KRAFT_VERSION_MAX
        ));
        assert!(!features::implements(
            features::KRAFT_VERSION,
            KRAFT_VERSION_MAX + 1
        ));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        type Levels<'a> = &'a [(&'a str, i16)];
        let cases: [(Levels, bool, &str); 5] = [
            (
                &[("group.version", 1)],
                false,
                "this release does not have the feature group.version: leave it out",
            ),
            (
                &[("metadata.version", 31)],
                false,
                "this release implements metadata.version 7 to 30, not 31",
            ),
            (&[("kraft.version", 1)], false, "kraft.version is 0 here"),
            (&[], true, "--standalone makes a dynamic quorum"),
            (&[("group.version", 0), ("share.version", 0)], false, ""),
        ];
        for (features, standalone, expected) in cases {
            let message = format(&[], features, standalone).err().unwrap_or_default();
            assert!(
                message.starts_with(expected) && message.is_empty() == expected.is_empty(),
                "{message}"
            );
        }
    }
}
