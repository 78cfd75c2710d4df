//! The device's identity, and the owner's revocation list as the folder has it by now.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use twinmask_transport::{CRL_FILE, Identity, Objection};

use crate::error::DeviceError;
use crate::session::Session;
use crate::store::DeviceDir;

/// Shortest pause between two looks at the list while a session is open.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one file from the next of its name.
type Stamp = (SystemTime, u64);

/// The identity of a device whose process may outlive certificates and lists.
pub(crate) struct Credentials {
    dir: PathBuf,
    state: Mutex<State>,
}

struct State {
    identity: Identity,
    list: Option<Stamp>,
    looked: Instant,
}

impl Credentials {
    /// Those of the folder `dir`.
    pub(crate) fn open(dir: &DeviceDir) -> Result<Self, DeviceError> {
        let (identity, dir) = (dir.identity()?, dir.identity_dir());
        let state = State { identity, list: stamp(&dir), looked: Instant::now() };
        Ok(Self { dir, state: Mutex::new(state) })
    }

    /// The identity for a session that is to be opened, read anew.
    ///
    /// # Errors
    /// When it is itself revoked or has run out. Files that cannot be read, or a list that is older than the one that
    /// was read before, are no error: what was read before counts on.
    pub(crate) fn current(&self) -> Result<Identity, DeviceError> {
        let mut state = self.state();
        self.reread(&mut state);
        state.identity.check_standing()?;
        Ok(state.identity.clone())
    }

    /// Why `session` may go on no longer, by the list that the folder has now.
    pub(crate) fn objection(&self, session: &Session) -> Option<Objection> {
        let mut state = self.state();
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            if stamp(&self.dir) != state.list {
                self.reread(&mut state);
            }
        }
        session.objection(&state.identity)
    }

    fn reread(&self, state: &mut State) {
        state.list = stamp(&self.dir);
        match state.identity.load_anew(&self.dir) {
            Ok(identity) => state.identity = identity,
            Err(error) => tracing::warn!(%error, "the identity is not read anew; what was read before counts"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(dir: &Path) -> Option<Stamp> {
    let file = dir.join(CRL_FILE).metadata().ok()?;
    Some((file.modified().ok()?, file.len()))
}
