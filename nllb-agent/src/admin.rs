//! The admin socket: a unix socket for root, where `nllb status` asks and `nllb drain` orders.
//!
//! Tasks: one accepts, one per connection answers; all end with the future of [`Listener::serve`].
//! Status shows addresses and names of the control plane and an order changes where a node's
//! connections go, hence root only: the directory is made 0700 and the socket 0600, and since modes
//! can be changed behind our back the peer's credentials are checked as well.

mod events;
mod route;

pub use crate::drain::{DrainRequest, DrainSource};
pub use crate::status::{self, HistorySource, StatusRequest, StatusSource};
pub use route::{
    DRAIN_PATH, DRILL_PATH, EVENTS_PATH, HISTORY_PATH, LOG_LEVEL_PATH, STATUS_PATH, UNDRAIN_PATH,
};

use crate::journal::Feed;
use crate::serve;
use crate::telemetry::LogSource;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// People and scripts, not crowds: a few connections at once are plenty.
const MOST_CONNECTIONS: usize = 8;
/// Pause after a failed accept, so that a lasting cause does not eat the processor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Why the admin socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The directory cannot be made.
    #[error("cannot make the directory {} of the admin socket: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent answers there.
    #[error("another agent is running: it answers on {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket has the name.
    #[error("{} is not a socket: remove it or configure another admin.socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be bound.
    #[error("cannot open the admin socket {}: {source}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Those for the status document.
    pub status: StatusSource,
    /// Those for the round trips of the last hour.
    pub history: HistorySource,
    /// Orders to drain, and to undo that.
    pub drain: DrainSource,
    /// The journal.
    pub events: Feed,
    /// Those about the log's level.
    pub log: LogSource,
}

/// The open socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    file: FileId,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let path = self.path.display();
        let removed = FileId::of(&self.path)
            .and_then(|file| if file == self.file { fs::remove_file(&self.path) } else { Ok(()) });
        match removed {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, %path, "the admin socket is gone already"),
        }
    }
}

/// Which file has a name. The socket at our path may be a successor's, once somebody removed ours;
/// the kernel gives our inode's number to no other file while we have the socket open.
#[derive(Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Listener {
    /// Opens the socket at `path`. One left over by a dead agent is replaced. The error holds an
    /// [`AdminError`].
    pub fn bind(path: &Path) -> io::Result<Self> {
        Self::open(path).map_err(|error| {
            let kind = match &error {
                AdminError::InUse { .. } => ErrorKind::AddrInUse,
                AdminError::NotASocket { .. } => ErrorKind::AlreadyExists,
                AdminError::Directory { source, .. } | AdminError::Bind { source, .. } => {
                    source.kind()
                }
            };
            io::Error::new(kind, error)
        })
    }

    fn open(path: &Path) -> Result<Self, AdminError> {
        make_directory(path)?;
        clear(path)?;
        let bind = || {
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(Self { listener, path: path.to_owned(), file: FileId::of(path)? })
        };
        bind().map_err(|source| AdminError::Bind { path: path.to_owned(), source })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, sources: Sources) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut refused = 0;
        loop {
            while connections.try_join_next().is_some() {}
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: waiting is all there is to do.
                    tracing::warn!(%error, "the admin socket cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Some(uid) = stranger(&stream) {
                refused += 1;
                tell_refused(uid, refused);
                continue;
            }
            let sources = sources.clone();
            connections.spawn(async move {
                serve::connection(stream, |request| route::route(request, sources.clone())).await;
                drop(place);
            });
        }
    }
}

/// The user at the other end unless that is root or whoever runs this agent; `None` of `Some` when it is not known.
fn stranger(stream: &UnixStream) -> Option<Option<u32>> {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let allowed = uid.is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw());
    (!allowed).then_some(uid)
}

/// Who may open the socket against its modes can ask as often as it likes, and shall not fill the log.
fn tell_refused(uid: Option<u32>, times: u64) {
    if times.is_power_of_two() {
        tracing::warn!(?uid, times, "a user other than root asked on the admin socket");
    }
}

fn make_directory(path: &Path) -> Result<(), AdminError> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| AdminError::Directory { path: directory.to_owned(), source })
}

/// Removes a socket that nobody listens on.
fn clear(path: &Path) -> Result<(), AdminError> {
    let path = path.to_owned();
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(AdminError::Bind { path, source }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(AdminError::NotASocket { path });
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(&path) {
        Ok(_) => Err(AdminError::InUse { path }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(&path).map_err(|source| AdminError::Bind { path, source })
        }
        Err(source) => Err(AdminError::Bind { path, source }),
    }
}

#[cfg(test)]
mod tests;
