//! The disk model served to the kernel through FUSE, and the power switch.
//!
//! Every write reaches the model when the system call returns (no write-back cache), except through shared memory maps, which the
//! kernel writes back at their sync, unmap or leisure, as it does anywhere. `syncfs` is not passed on to FUSE by the kernel, so that
//! here it makes nothing durable. After a cut the kernel's caches are gone too: the file system is mounted anew.

use super::disk::{CutReport, Disk, Missing, Plan, ROOT, Rule, Stat, SyncKind};
use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Nobody else changes this file system: what the kernel knows stays true.
const FOREVER: Duration = Duration::from_secs(86_400);

struct Shared {
    disk: Mutex<State>,
    changed: Condvar,
}

struct State {
    disk: Disk,
    /// No operation is answered once the disk has seen this many.
    hold_at: Option<u64>,
    /// The power is off: nothing that still arrives counts.
    off: bool,
}

impl State {
    /// Is an operation answered that comes only now?
    fn answers(&self) -> bool {
        let held = self.hold_at.is_some_and(|at| self.disk.operations() >= at);
        !held && !self.disk.is_frozen()
    }

    /// May operations be waiting?
    fn holds(&self) -> bool {
        self.hold_at.is_some() || self.disk.is_frozen()
    }
}

/// A mounted crash file system; unmounted and forgotten when dropped.
pub struct CrashFs {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    directory: tempfile::TempDir,
    cuts: u64,
}

impl CrashFs {
    /// An empty file system at a fresh place. Needs `/dev/fuse` and `fusermount3`, or root.
    pub fn mount() -> io::Result<CrashFs> {
        let directory = tempfile::Builder::new().prefix("crashfs-").tempdir()?;
        std::fs::create_dir(directory.path().join("mnt"))?;
        let mut fs = CrashFs {
            shared: shared(Disk::default()),
            session: None,
            directory,
            cuts: 0,
        };
        fs.serve()?;
        Ok(fs)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::FSName("crashfs".into()), MountOption::NoAtime];
        self.session = Some(fuser::spawn_mount(
            Served(self.shared.clone()),
            self.path(),
            &config,
        )?);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Ignores syncs from now on, across cuts.
    pub fn ignore(&self, kind: SyncKind, suffix: &str) {
        self.add_rule(Rule::new(kind, suffix, Missing::Every));
    }

    /// Some syncs are not done from now on.
    pub fn add_rule(&self, rule: Rule) {
        self.state().disk.add_rule(rule);
    }

    /// Every sync is done from now on.
    pub fn clear_rules(&self) {
        self.state().disk.clear_rules();
    }

    /// A file as a reader sees it, also while nothing is answered.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let disk = &self.state().disk;
        let mut found = disk.stat(ROOT);
        for name in path.split('/') {
            found = found.and_then(|directory| disk.lookup(directory.ino, name));
        }
        found
            .and_then(|file| disk.read(file.ino, 0, file.length as usize))
            .map_err(io::Error::from_raw_os_error)
    }

    /// Is nothing answered any more, by a hold or by a rule?
    pub fn is_frozen(&self) -> bool {
        !self.state().answers()
    }

    /// From now on files grow by so many bytes at most; `None`: without end.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().disk.set_room(bytes);
    }

    /// Makes everything durable that was written until now, for a start from known ground.
    pub fn settle(&self) {
        self.state().disk.sync_all();
    }

    /// Syncs since the last cut, by kind and path.
    pub fn syncs(&self) -> BTreeMap<(SyncKind, String), u64> {
        self.state().disk.syncs().clone()
    }

    /// Syncs that a rule ignored since the last cut.
    pub fn ignored(&self) -> u64 {
        self.state().disk.ignored()
    }

    /// Changes and syncs so far.
    pub fn operations(&self) -> u64 {
        self.state().disk.operations()
    }

    /// Answers no operation any more once `more` further ones were done: a cut between any two operations.
    pub fn hold_after(&self, more: u64) {
        let mut state = self.state();
        state.hold_at = Some(state.disk.operations() + more);
    }

    /// Waits until the hold took effect; false after `patience`.
    pub fn held(&self, patience: Duration) -> bool {
        let due = |state: &mut State| state.hold_at.is_none_or(|at| state.disk.operations() < at);
        match self
            .shared
            .changed
            .wait_timeout_while(self.state(), patience, due)
        {
            Ok((_, waited)) => !waited.timed_out(),
            Err(poisoned) => panic!("a thread of the file system died: {poisoned}"),
        }
    }

    /// The power fails and comes back. `kill` ends whoever uses the file system, with SIGKILL, and reaps it; it runs after the
    /// moment of the cut is fixed if operations are held, else before.
    pub fn power_cut(&mut self, plan: Plan, kill: impl FnOnce()) -> io::Result<CutReport> {
        // A held operation is answered with an error, but the killed process never returns from the call to see it.
        if self.state().holds() {
            let frozen = std::thread::spawn({
                let shared = self.shared.clone();
                move || {
                    std::thread::sleep(Duration::from_millis(100));
                    shared.state().off = true;
                    shared.changed.notify_all();
                }
            });
            kill();
            frozen.join().expect("the switch thread only sets a flag");
        } else {
            kill();
        }
        let (disk, report) = {
            let mut state = self.state();
            state.off = true;
            self.shared.changed.notify_all();
            state.disk.after_cut(plan)
        };
        self.unmount()?;
        self.shared = shared(disk);
        self.cuts += 1;
        self.serve()?;
        Ok(report)
    }

    /// How often the power failed.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    fn unmount(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        // A process that was killed a moment ago may still be closing its files.
        for _ in 0..200 {
            match rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::empty()) {
                Ok(()) => return session.join(),
                Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(10)),
                Err(_) => break, // without root the session unmounts by fusermount3
            }
        }
        session.umount_and_join()
    }
}

impl Drop for CrashFs {
    fn drop(&mut self) {
        let mut state = self.state();
        state.off = true;
        drop(state);
        self.shared.changed.notify_all();
        if let Err(error) = self.unmount() {
            eprintln!("{} stays mounted: {error}", self.path().display());
        }
    }
}

fn shared(disk: Disk) -> Arc<Shared> {
    Arc::new(Shared {
        disk: Mutex::new(State {
            disk,
            hold_at: None,
            off: false,
        }),
        changed: Condvar::new(),
    })
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.disk
            .lock()
            .expect("no thread of the file system panics with the lock")
    }

    /// Waits until operations are answered, or the power is off.
    fn awaited<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.answers() {
            return state;
        }
        self.changed.notify_all();
        self.changed
            .wait_while(state, |state| !state.off)
            .expect("no thread of the file system panics with the lock")
    }

    /// Runs an operation on the disk, unless the power is off.
    fn with<T>(&self, operation: impl FnOnce(&mut Disk) -> Result<T, i32>) -> Result<T, Errno> {
        let mut state = self.awaited(self.state());
        if state.off {
            return Err(Errno::EIO);
        }
        let result = operation(&mut state.disk);
        if state.holds() {
            self.changed.notify_all();
        }
        // What froze the disk is not done itself.
        if state.disk.is_frozen() && self.awaited(state).off {
            return Err(Errno::EIO);
        }
        result.map_err(Errno::from_i32)
    }
}

struct Served(Arc<Shared>);

fn attributes(stat: Stat) -> FileAttr {
    let now = SystemTime::now();
    FileAttr {
        ino: INodeNo(stat.ino),
        size: stat.length,
        blocks: stat.length.div_ceil(512),
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind: if stat.directory {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: if stat.directory { 0o755 } else { 0o644 },
        nlink: if stat.directory { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn text(name: &OsStr) -> Result<&str, i32> {
    name.to_str().ok_or(libc::EILSEQ)
}

fn empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(refused) => reply.error(refused),
    }
}

fn entry(reply: ReplyEntry, result: Result<Stat, Errno>) {
    match result {
        Ok(stat) => reply.entry(&FOREVER, &attributes(stat), Generation(0)),
        Err(refused) => reply.error(refused),
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Larger requests and whole-file reads; the write-back cache stays off, or the model would not see writes.
        let _ = config.set_max_write(1 << 20);
        let _ = config.set_max_readahead(1 << 20);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(
            reply,
            self.0.with(|disk| disk.lookup(parent.0, text(name)?)),
        );
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.with(|disk| disk.stat(ino.0)) {
            Ok(stat) => reply.attr(&FOREVER, &attributes(stat)),
            Err(refused) => reply.error(refused),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let result = self.0.with(|disk| {
            if let Some(length) = size {
                disk.resize(ino.0, length)?;
            }
            disk.stat(ino.0)
        });
        match result {
            Ok(stat) => reply.attr(&FOREVER, &attributes(stat)),
            Err(refused) => reply.error(refused),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        entry(
            reply,
            self.0.with(|disk| disk.create(parent.0, text(name)?, true)),
        );
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let regular = mode & libc::S_IFMT == libc::S_IFREG;
        entry(
            reply,
            self.0.with(|disk| {
                if regular {
                    disk.create(parent.0, text(name)?, false)
                } else {
                    Err(libc::EPERM)
                }
            }),
        );
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self
            .0
            .with(|disk| disk.create(parent.0, text(name)?, false))
        {
            Ok(stat) => reply.created(
                &FOREVER,
                &attributes(stat),
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(refused) => reply.error(refused),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(
            reply,
            self.0
                .with(|disk| disk.remove(parent.0, text(name)?, false)),
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(
            reply,
            self.0.with(|disk| disk.remove(parent.0, text(name)?, true)),
        );
    }

    fn rename(
        &self,
        _: &Request,
        from: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let result = self.0.with(|disk| match flags.bits() {
            0 => disk.rename(from.0, text(name)?, to.0, text(new_name)?),
            libc::RENAME_NOREPLACE if disk.lookup(to.0, text(new_name)?).is_ok() => {
                Err(libc::EEXIST)
            }
            libc::RENAME_NOREPLACE => disk.rename(from.0, text(name)?, to.0, text(new_name)?),
            _ => Err(libc::EINVAL),
        });
        empty(reply, result);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.with(|disk| disk.read(ino.0, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(refused) => reply.error(refused),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.with(|disk| disk.write(ino.0, offset, bytes)) {
            Ok(written) => reply.written(written as u32),
            Err(refused) => reply.error(refused),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.0.with(|disk| disk.sync_file(ino.0)));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.0.with(|disk| disk.sync_directory(ino.0)));
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let result = self.0.with(|disk| match mode {
            0 if disk.stat(ino.0)?.length < offset + length => disk.resize(ino.0, offset + length),
            0 | libc::FALLOC_FL_KEEP_SIZE => disk.allocate(ino.0, offset + length),
            _ => Err(libc::EOPNOTSUPP),
        });
        empty(reply, result);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = self.0.with(|disk| {
            let named = disk
                .entries(ino.0)?
                .iter()
                .map(|(name, ino)| (*ino, name.clone()));
            let all = [(ino.0, ".".to_owned()), (ROOT, "..".to_owned())]
                .into_iter()
                .chain(named);
            Ok(all
                .map(|(ino, name)| (ino, disk.stat(ino).is_ok_and(|s| s.directory), name))
                .collect::<Vec<_>>())
        });
        match listing {
            Err(refused) => reply.error(refused),
            Ok(listing) => {
                for (at, (ino, directory, name)) in
                    listing.into_iter().enumerate().skip(offset as usize)
                {
                    let kind = if directory {
                        FileType::Directory
                    } else {
                        FileType::RegularFile
                    };
                    if reply.add(INodeNo(ino), at as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 64 << 18; // 64 GiB of 4 KiB
        reply.statfs(blocks, blocks, blocks, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
